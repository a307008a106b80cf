"""Heat maps to a class map: enlarge, threshold, compete, refine, doubt, drop specks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from diffumask.errors import InputError
from diffumask.types import (
    BACKGROUND_ID,
    IGNORE_ID,
    ClassMap,
    GridHeat,
    Heat,
    Image,
    Sample,
    Target,
)

from .area_mean import area_mean
from .components import drop_small
from .refine import refine
from .scores import score
from .sources import MaskSource, alone, fused
from .thresholds import Evidence, Otsu, ThresholdMethod
from .unary import label_probabilities

NO_PIXEL = "no pixel above the threshold"


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """How heat becomes a class map.

    `heat` says which heat map has the threshold: "attention", or "affinity", that after
    propagation to alike pixels. `refiner` names one of `diffumask.masks.refine`. `affinity_of`
    makes the affinity of a heat map from the image (an AffinityNet), in place of the sample's own.
    `uncertain_band` is how far, in heat, a threshold could be wrong: pixels whose label changes
    within it become 255. `min_area` is the share of the image below which a component
    (4-connected) becomes background. `source` sees objects beside attention, or in its place.
    `device` is that of a refiner with a model.
    """

    heat: Literal["attention", "affinity"] = "affinity"
    threshold: ThresholdMethod = field(default_factory=lambda: Otsu(less=0.05))
    refiner: str = "crf-wide"
    affinity_of: Callable[[Image, Heat], Heat] | None = None
    uncertain_band: float = 0.02
    min_area: float = 0.002
    source: MaskSource | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.uncertain_band < 1:
            raise InputError(f"expected an uncertain band in [0, 1), got {self.uncertain_band}")
        if not 0 <= self.min_area <= 1:
            raise InputError(f"expected a min_area in [0, 1], got {self.min_area}")


@dataclass(frozen=True, slots=True)
class Masked:
    """The class map of a sample, the threshold of each target, and scores in [0, 1].

    `absent` says of each class of a target that has no mask why it has none.
    """

    class_map: ClassMap
    thresholds: Sequence[float]
    scores: Mapping[str, float]
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def foreground(self) -> float:
        """The share of the image that has a class."""
        labelled = (self.class_map != BACKGROUND_ID) & (self.class_map != IGNORE_ID)
        return float(labelled.mean())


def make_class_map(sample: Sample, settings: MaskSettings) -> Masked:
    """Label every pixel with the class of one of the sample's targets, 0 or 255.

    Where several targets lie above their thresholds the one wins that is further above. A word
    without heat has no pixels. What the prompt does not name is background. Raises InputError for
    heat that is not finite.
    """
    targets = sample.prompt.targets
    heats, thresholds, rough = _seen(sample, settings)
    refined = refine(settings.refiner, sample.image, rough, settings.device)
    labelled = refined.argmax(1).astype(np.uint8)
    labels = np.stack([_without_specks(one, settings.min_area) for one in labelled])

    ids = np.array([BACKGROUND_ID, *(target.class_id for target in targets)], np.uint8)
    class_map = ids[labels[0]]
    class_map[(labels != labels[0]).any(axis=0)] = IGNORE_ID
    return Masked(
        class_map,
        thresholds,
        score(heats, thresholds, rough[0].argmax(0).astype(np.uint8), labels[0]),
        {one.class_name: NO_PIXEL for one in targets if not (class_map == one.class_id).any()},
    )


def _seen(
    sample: Sample, settings: MaskSettings
) -> tuple[
    Float32[np.ndarray, "word h w"], list[float], Float32[np.ndarray, "candidate label h w"]
]:
    """Return the heat map and the threshold of each target, and the label probabilities."""
    targets, band, source = sample.prompt.targets, settings.uncertain_band, settings.source
    objects = None if source is None else source.source(sample)
    if source is not None and objects is not None and not source.fused:
        return objects[1:-1], [0.5] * len(targets), alone(objects, band)
    seen = [_evidence(sample, target, settings) for target in targets]
    thresholds = [settings.threshold(one) if one.heat.any() else 1.0 for one in seen]
    heats = np.stack([one.heat for one in seen])
    candidates = [thresholds]
    if band:
        candidates += [[max(t - band, 0.0) for t in thresholds], [t + band for t in thresholds]]
    rough = label_probabilities(heats, candidates)
    return heats, thresholds, rough if objects is None else fused(rough, objects)


def _evidence(sample: Sample, target: Target, settings: MaskSettings) -> Evidence:
    size_hw = (sample.image.shape[0], sample.image.shape[1])
    heat = enlarge(sample.heats[target.word], size_hw)
    affinity = None
    if settings.affinity_of is not None:
        affinity = settings.affinity_of(sample.image, heat)
    elif target.word in sample.affinities:
        affinity = enlarge(sample.affinities[target.word], size_hw)
    if settings.heat == "affinity":
        if affinity is None:
            raise InputError("expected an affinity to threshold, got none; threshold the attention")
        heat = affinity
    return Evidence(sample.image, heat, affinity, target.class_name)


def enlarge(heat: GridHeat, size_hw: tuple[int, int]) -> Heat:
    """Resize a heat map bicubically to the image, clip it at 0 and scale it to a peak of 1.

    Where the image is the smaller one it is averaged. A map of zeros stays. Raises InputError for
    one that is not finite.
    """
    if not np.isfinite(heat).all():
        raise InputError("expected finite heat, got nan or infinity; try dtype float32")
    h, w = size_hw
    coarse = area_mean(heat, size_hw)
    resized = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC).clip(min=0)
    peak = resized.max(initial=0)
    return (resized / peak if peak > 0 else resized).astype(np.float32)


def _without_specks(labels: UInt8[np.ndarray, "h w"], min_area: float) -> UInt8[np.ndarray, "h w"]:
    kept = labels.copy()
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        kept[mask & ~drop_small(mask, min_area * labels.size)] = 0
    return kept
