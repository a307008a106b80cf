"""Every way to make the mask of an item, judged: thresholds x refiners x affinities, and peers.

The candidates of all thresholds are refined at once; what chooses among them (a fixed number, the
best, Otsu's, a calibration, the affinity mask) then only looks up the candidate it wants. So all
threshold methods of a row are compared on the very same masks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from skimage.filters import threshold_otsu
from torch import Tensor

from diffumask.attention.propagate import expand_seeds, propagate
from diffumask.masks.class_map import MaskSettings, enlarge, make_class_map
from diffumask.masks.components import drop_small
from diffumask.masks.refine import REFINERS, from_labels, refine
from diffumask.masks.thresholds import GAMMAS, ious
from diffumask.masks.unary import label_probabilities
from diffumask.metrics import boundary_f, boundary_tolerance_px
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Heat, Image, Mask

from .peers import CONFIDENCE, DAAM_THRESHOLD, PEERS, Seen, daam_heat, official_heat
from .samples import Item

# The sweep of Wu et al. 2023 and coarser steps on both sides of it.
THRESHOLDS = (
    *np.arange(0.10, 0.35, 0.03).round(2).tolist(),
    *GAMMAS,
    *np.arange(0.56, 0.81, 0.04).round(2).tolist(),
)
OTSU = len(THRESHOLDS)  # the column after those of the fixed thresholds
NONE, SELF_ATTENTION, AFFINITY_NET = "none", "self-attention", "AffinityNet"
HARD_LABELS = "crf, hard labels"  # odds of 20 : 1 as in the released code, not by heat
# Other ways along the same self-attention, tried with the refiners of ALWAYS.
EXTRA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "self-attention, power 2": partial(propagate, power=2),
    "self-attention, power 4": partial(propagate, power=4),  # of Nguyen et al. 2023's code
    "self-attention, expanded seeds": expand_seeds,
}
ALWAYS = ("none", "crf", "crf-wide")
# Heat maps of others, thresholded without a refiner.
DAAM_MAP, OFFICIAL_MAP = "DAAM map", "official DiffuMask map"
MAPS: dict[str, Callable[[Seen], Heat]] = {DAAM_MAP: daam_heat, OFFICIAL_MAP: official_heat}
DEFAULT, DEFAULT_WITH_BAND = "our default", "our default, its band left out"

Curve = Float64[np.ndarray, " candidate"]


@dataclass(frozen=True, slots=True)
class Curves:
    """The figures of the masks at each of `THRESHOLDS`, then at Otsu's.

    `agreement` is the IoU with an affinity mask instead of the truth, by the kind of affinity.
    """

    iou: Curve
    boundary: Curve
    agreement: Mapping[str, Curve]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one mask; `left_out` is the share of pixels that it labels 255."""

    iou: float
    boundary: float
    left_out: float


@dataclass(frozen=True, slots=True)
class Judged:
    """All figures of an item: curves by heat and refiner, and masks of whole procedures."""

    class_name: str
    curves: Mapping[tuple[str, str], Curves]
    figures: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Job:
    """An item, whether to try every way on it, and the folder of an AffinityNet if there is one."""

    item: Item
    every: bool
    affinity_net: Path | None


def judge(job: Job) -> Judged:
    """Make and judge all masks of an item."""
    item = job.item
    heats = heats_of(item, job.affinity_net)
    references = {
        kind: heats[kind] > otsu(heats[kind])
        for kind in (SELF_ATTENTION, AFFINITY_NET)
        if kind in heats
    }
    seen = Seen(
        item.image,
        item.grids,
        item.n_heads,
        item.matrix,
        references.get(AFFINITY_NET, references[SELF_ATTENTION]),
    )
    curves = {
        (kind, refiner): curves_of(item.image, heat, item.truth, references, refiner)
        for kind, heat in heats.items()
        for refiner in _refiners(kind, job.every)
    }
    for name, heat_of in MAPS.items():
        heat = heat_of(seen)
        curves[name, "none"] = curves_of(item.image, heat, item.truth, references, "none")

    figures = {name: figures_of(peer(seen) == 1, item.truth) for name, peer in PEERS.items()}
    figures |= _banded(seen, item.truth)
    figures |= _ours(item)
    whole = daam_heat(seen, leave_out_coarsest=False) > DAAM_THRESHOLD
    figures["DAAM of all grids, threshold 0.5"] = figures_of(whole, item.truth)
    return Judged(item.class_name, curves, figures)


def _refiners(kind: str, every: bool) -> Sequence[str]:
    if kind in EXTRA:
        return ALWAYS if every else ()
    if not every:
        return ALWAYS
    return [*ALWAYS, HARD_LABELS, *(name for name in REFINERS if name not in ALWAYS)]


def heats_of(item: Item, affinity_net: Path | None) -> dict[str, Heat]:
    """Return the heat of the item as it is and after each kind of propagation."""
    sample, word = item.sample, item.prompt.targets[0].word
    size_hw = (item.image.shape[0], item.image.shape[1])
    heats = {
        NONE: enlarge(sample.heats[word], size_hw),
        SELF_ATTENTION: enlarge(sample.affinities[word], size_hw),
    }
    cells, matrix = torch.from_numpy(item.cells)[None], torch.from_numpy(item.matrix)
    for kind, spread in EXTRA.items():
        heats[kind] = enlarge(spread(cells, matrix)[0].numpy(), size_hw)
    if affinity_net:
        from diffumask.affinity_net import affinity_heat

        heats[AFFINITY_NET] = affinity_heat(_network(affinity_net), item.image, sample.heats[word])
    return heats


@cache
def _network(folder: Path) -> Any:
    from diffumask.affinity_net import load

    return load(folder)


def curves_of(
    image: Image, heat: Heat, truth: Mask, references: Mapping[str, Mask], refiner: str
) -> Curves:
    """Judge the masks of one heat map at every threshold."""
    masks = candidates(image, heat, [*THRESHOLDS, otsu(heat)], refiner)
    tolerance_px = boundary_tolerance_px((truth.shape[0], truth.shape[1]))
    return Curves(
        ious(masks, truth),
        np.array([boundary_f(mask, truth, tolerance_px) for mask in masks]),
        {kind: ious(masks, reference) for kind, reference in references.items()},
    )


def otsu(heat: Heat) -> float:
    """Return Otsu's threshold; 1 for a map of zeros, which has nothing above it."""
    return float(threshold_otsu(heat)) if heat.any() else 1.0


def candidates(
    image: Image, heat: Heat, thresholds: Sequence[float], refiner: str
) -> Bool[np.ndarray, "candidate h w"]:
    """Return the mask at each threshold after refinement, without specks, as the package does."""
    rough = label_probabilities(heat[None], [[threshold] for threshold in thresholds])
    if refiner == HARD_LABELS:
        labels = heat > np.array(thresholds, np.float32)[:, None, None]
        refined = refine("crf", image, from_labels(labels.astype(np.uint8), 2, CONFIDENCE))
    else:
        refined = refine(refiner, image, rough)
    masks = refined.argmax(1) == 1
    min_area_px = MaskSettings().min_area * heat.size
    return np.stack([drop_small(mask, min_area_px) for mask in masks])


def figures_of(mask: Mask, truth: Mask, left_out: Mask | None = None) -> Figures:
    """Judge one mask; pixels that are left out count in neither figure's mask nor truth."""
    kept = np.ones_like(truth) if left_out is None else ~left_out
    (iou,) = ious((mask & kept)[None], truth & kept)
    tolerance_px = boundary_tolerance_px((truth.shape[0], truth.shape[1]))
    boundary = boundary_f(mask, truth, tolerance_px)
    return Figures(float(iou), boundary, float(1 - kept.mean()))


def _banded(seen: Seen, truth: Mask) -> dict[str, Figures]:
    name = "Dataset Diffusion"
    class_map = PEERS[name](seen)
    return {f"{name}, its band left out": _without_band(class_map, truth)}


def _ours(item: Item) -> dict[str, Figures]:
    """Judge what the package makes of the sample, with every pixel labelled and as shipped."""
    whole = make_class_map(item.sample, MaskSettings(uncertain_band=0.0)).class_map
    banded = make_class_map(item.sample, MaskSettings()).class_map
    return {
        DEFAULT: figures_of(whole != BACKGROUND_ID, item.truth),
        DEFAULT_WITH_BAND: _without_band(banded, item.truth),
    }


def _without_band(class_map: ClassMap, truth: Mask) -> Figures:
    left_out = class_map == IGNORE_ID
    return figures_of(~left_out & (class_map != BACKGROUND_ID), truth, left_out)
