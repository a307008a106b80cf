"""The figures of one mask against a truth that knows the asked object and the others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from diffumask.metrics import boundary_f, boundary_tolerance_px, iou
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, GridHeat, Mask

ASKED = 1  # in a truth; further objects are 2, 3, ..., the ground is 0, what does not count 255
TAKEN = 0.5  # share of another object from which a mask takes it
CLEAN_TARGET, CLEAN_OTHER = 0.7, 0.1  # a clean mask has more of the target, less of each other

Values = Float64[np.ndarray, " item"]


@dataclass(frozen=True, slots=True)
class Figures:
    """One mask; truths are 1.0 and 0.0, and NaN where the question does not arise.

    `iou` counts each pixel that the mask leaves open (255) as wrong, `iou_decided` leaves it out;
    `hits_px` and `union_px` are the counts of `iou`, to be summed over a data set. `takes_other`:
    the mask has more than half of another object; `clean`: more than 70 % of the target and less
    than 10 % of each other one; both NaN without another. `pointing`: the hottest cell lies on the
    target; NaN for a mask without heat.
    """

    iou: float
    iou_decided: float
    hits_px: int
    union_px: int
    boundary_f: float
    takes_other: float
    clean: float
    pointing: float
    empty: float


def figures_of(
    mask: Mask,
    truth: ClassMap,
    *,
    asked: int = ASKED,
    open_px: Mask | None = None,
    heat: GridHeat | None = None,
) -> Figures:
    """Judge a mask of the object that the truth calls `asked`.

    `open_px` are the pixels that are labelled 255, `heat` is that of the asked word. Pixels whose
    truth is 255 do not count.
    """
    counted = truth != IGNORE_ID
    mask, target = mask & counted, truth == asked
    undecided = np.zeros_like(mask) if open_px is None else open_px & counted
    decided = ~undecided
    hits, union = mask & target & decided, (mask & counted) | target | undecided
    covered = [float(mask[one].mean()) for one in _others(truth, asked)]
    on_target = float(mask[target].mean()) if target.any() else 0.0
    return Figures(
        iou=int(hits.sum()) / int(union.sum()) if union.any() else 1.0,
        iou_decided=iou(mask & decided, target & decided),
        hits_px=int(hits.sum()),
        union_px=int(union.sum()),
        boundary_f=boundary_f(mask, target, boundary_tolerance_px((len(mask), mask.shape[1]))),
        takes_other=float(max(covered) > TAKEN) if covered else np.nan,
        clean=float(on_target > CLEAN_TARGET and max(covered) < CLEAN_OTHER) if covered else np.nan,
        pointing=np.nan if heat is None else float(points(heat, target)),
        empty=float(not mask.any()),
    )


def _others(truth: ClassMap, asked: int) -> list[Mask]:
    labels = np.unique(truth)
    return [truth == one for one in labels if one not in (BACKGROUND_ID, asked, IGNORE_ID)]


def points(heat: GridHeat, target: Mask) -> bool:
    """Return whether the middle of the hottest cell lies on the target; not so of flat heat."""
    if heat.max() <= heat.min():
        return False
    cell = np.unravel_index(int(heat.argmax()), heat.shape)
    y, x = (
        int((place + 0.5) * pixels / cells)
        for place, pixels, cells in zip(cell, target.shape, heat.shape, strict=True)
    )
    return bool(target[y, x])


def swapped(first: Mask, second: Mask, truth: ClassMap) -> bool:
    """Return whether the masks of the objects 1 and 2 each lie mainly on the other object."""
    return _mainly_on(first, truth == 2) and _mainly_on(second, truth == 1)


def _mainly_on(mask: Mask, target: Mask) -> bool:
    return bool(2 * (mask & target).sum() > mask.sum())


def text_gain(ious: Values, controls: Mapping[str, Values]) -> tuple[str, Values]:
    """Return the name of the best control, and by how much each item is above it.

    Best is the highest mean over the same items, so that the difference is paired.
    """
    best = max(controls, key=lambda name: float(np.nanmean(controls[name])))
    return best, ious - controls[best]
