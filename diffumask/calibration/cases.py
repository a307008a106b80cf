"""What thresholds are fitted on: samples that show objects, and the IoU of their masks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8

from diffumask.masks.class_map import make_class_maps
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Calibrated, ThresholdMethod
from diffumask.metrics import iou
from diffumask.types import BACKGROUND_ID, IGNORE_ID, Sample, Target

from .file import Thresholds
from .fit import DECIMALS, THRESHOLDS, Curves
from .setting import Setting

MIN_AREA = 0.002  # share of the image below which a reference shows no object, only specks
PIXELS_AT_ONCE = 2**22  # of masks that are refined together, so that memory is bounded

Truth = UInt8[np.ndarray, "h w"]  # 0 background, 255 does not count, else the object


@dataclass(frozen=True, slots=True)
class Case:
    """A class to judge in an image: the sample as each setting reads it.

    All cases of a run have the same settings; `target` is the first of the class.
    """

    name: str
    target: Target
    samples: Sequence[tuple[Setting, Sample]]

    @property
    def sample(self) -> Sample:
        """The sample as the first setting reads it."""
        return self.samples[0][1]


# Says where the object of a case is; None where it has no answer.
Reference = Callable[[Case], Truth | None]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The IoU curves of cases, for each setting by class, and how many showed no object."""

    settings: Sequence[Setting]
    curves: Sequence[Mapping[str, Curves]]
    left_out: Mapping[str, int]


def gather(
    cases: Iterable[Case],
    reference: Reference,
    class_names: Sequence[str],
    min_area: float = MIN_AREA,
) -> Gathered:
    """Compare the masks of cases with a reference, one case after the other, keeping curves alone.

    A curve has the IoU by the default threshold, then by each of `THRESHOLDS`; other classes of
    the prompt have the default. Cases without an answer do not count; those whose object is smaller
    than `min_area` of the image are left out. A class without a case has no curves.
    """
    settings = [Setting()]
    rows: dict[str, list[Curves]] = {name: [] for name in class_names}
    left_out = Counter(dict.fromkeys(class_names, 0))
    for case, truth in _answered(cases, reference):
        name = case.target.class_name
        if _area(truth) < min_area:
            left_out[name] += 1
            continue
        settings = [setting for setting, _ in case.samples]
        methods = [Calibrated({name: t}.get, "") for t in (None, *THRESHOLDS.tolist())]
        rows[name].append(
            np.stack(
                [
                    ious(one, case.target, setting.masks, methods, truth)
                    for setting, one in case.samples
                ]
            )
        )
    curves = [
        {
            name: np.array([row[index] for row in of_class]).reshape(-1, 1 + len(THRESHOLDS))
            for name, of_class in rows.items()
        }
        for index in range(len(settings))
    ]
    return Gathered(settings, curves, left_out)


def as_shipped(
    thresholds: Thresholds,
    cases: Iterable[Case],
    reference: Reference,
    min_area: float = MIN_AREA,
) -> Thresholds:
    """Return thresholds with the IoU of the masks that they make together, of the same cases.

    Where an image has several classes, a curve knows each beside the default of the others only.
    """
    found = {name: one.threshold for name, one in thresholds.classes.items()}
    settings = replace(thresholds.setting.masks, threshold=Calibrated(found.get, ""))
    of_class: dict[str, list[float]] = {name: [] for name in found}
    for case, truth in _answered(cases, reference):
        name = case.target.class_name
        if name in found and _area(truth) >= min_area:
            methods = [settings.threshold]
            of_class[name] += ious(case.sample, case.target, settings, methods, truth).tolist()
    classes = {
        name: replace(one, iou=round(float(np.mean(of_class[name])), DECIMALS))
        for name, one in thresholds.classes.items()
    }
    return replace(thresholds, classes=classes)


def ious(
    sample: Sample,
    target: Target,
    settings: MaskSettings,
    methods: Sequence[ThresholdMethod],
    truth: Truth,
) -> Float64[np.ndarray, " method"]:
    """Return the IoU with the truth of the masks of a class, by each method for the threshold.

    The masks are those that are written: after competition with the other words, refined, without
    specks. Their pixels of 255 are not of the class; pixels whose truth is 255 do not count.
    """
    counted, shown = truth != IGNORE_ID, truth != BACKGROUND_ID
    n_at_once = max(1, PIXELS_AT_ONCE // truth.size)
    parts = [methods[at : at + n_at_once] for at in range(0, len(methods), n_at_once)]
    masks = (
        one.class_map == target.class_id
        for part in parts
        for one in make_class_maps(sample, settings, part)
    )
    return np.array([iou(mask & counted, shown & counted) for mask in masks])


def _answered(cases: Iterable[Case], reference: Reference) -> Iterator[tuple[Case, Truth]]:
    for case in cases:
        truth = reference(case)
        if truth is not None:
            yield case, truth


def _area(truth: Truth) -> float:
    return float(np.mean((truth != BACKGROUND_ID) & (truth != IGNORE_ID)))
