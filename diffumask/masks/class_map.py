"""Heat maps to a class map: enlarge, threshold, compete, refine, doubt, drop what is no object."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, Integer, UInt8

from diffumask.errors import InputError
from diffumask.types import (
    BACKGROUND_ID,
    IGNORE_ID,
    ClassMap,
    GridHeat,
    Heat,
    Image,
    Sample,
)

from .area_mean import area_mean
from .components import drop_cool, drop_small
from .refine import refine
from .scores import score
from .sources import MaskSource, alone, fused
from .thresholds import DEFAULT, Evidence, ThresholdMethod
from .unary import label_probabilities, word_shares

NO_PIXEL = "no pixel above the threshold"
UNSEEN = "the picture is explained as well without the word (presence {:.3f})"
# A word that explains nothing of a picture has a presence of 1/2.
LEAST_PRESENCE = 0.5


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """How heat becomes a class map.

    `heat` says which heat map has the threshold: "attention", or "affinity", that after
    propagation to alike pixels. `refiner` names one of `diffumask.masks.refine`. `affinity_of`
    makes the affinity of a heat map from the image (an AffinityNet), in place of the sample's own.
    `uncertain_band` is how far, in heat, a threshold could be wrong: pixels whose label changes
    within it become 255. `min_area` is the share of the image below which a component
    (4-connected) becomes background, `least_warmth` how warm one must be, as a share of the warmest
    one of its word: others are objects that nobody named. A target whose presence
    (`diffumask.sampling.presence`) is at most `least_presence` is absent. `source` sees objects
    beside attention, or in its place. `device` is that of a refiner with a model.
    """

    heat: Literal["attention", "affinity"] = "affinity"
    threshold: ThresholdMethod = DEFAULT
    refiner: str = "crf-wide"
    affinity_of: Callable[[Image, Heat], Heat] | None = None
    uncertain_band: float = 0.02
    min_area: float = 0.002
    source: MaskSource | None = None
    device: str = "auto"
    least_warmth: float = 0.5
    least_presence: float = LEAST_PRESENCE

    def __post_init__(self) -> None:
        if not 0 <= self.uncertain_band < 1:
            raise InputError(f"expected an uncertain band in [0, 1), got {self.uncertain_band}")
        if not 0 <= self.min_area <= 1:
            raise InputError(f"expected a min_area in [0, 1], got {self.min_area}")
        if not 0 <= self.least_warmth <= 1:
            raise InputError(f"expected a least_warmth in [0, 1], got {self.least_warmth}")
        if not 0 <= self.least_presence <= 1:
            raise InputError(f"expected a least_presence in [0, 1], got {self.least_presence}")


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

    All words of the sample that have heat compete for the pixels that lie above their thresholds:
    a target by the threshold of the settings, a rival (a thing that the prompt names and nobody
    asked for) by the default one, and what a rival wins is background. A word without heat has no
    pixels. Raises InputError for heat that is not finite.
    """
    (masked,) = make_class_maps(sample, settings, [settings.threshold])
    return masked


def make_class_maps(
    sample: Sample, settings: MaskSettings, methods: Sequence[ThresholdMethod]
) -> list[Masked]:
    """Make the class map of a sample by each of some methods, in place of the settings' own.

    Each is as `make_class_map` makes it; all are refined at once.
    """
    absent = _unseen(sample, settings.least_presence)
    seen, rough = _seen(sample, settings, methods, frozenset(absent))
    refined = refine(settings.refiner, sample.image, rough, settings.device)
    labels = np.stack([_cleaned(one, seen, settings) for one in refined.argmax(1)])
    n_shifts = len(labels) // len(methods)
    return [
        _masked(sample, seen.heats, of_method, rough[at], labels[at : at + n_shifts], absent)
        for of_method, at in zip(seen.thresholds, range(0, len(labels), n_shifts), strict=True)
    ]


def _masked(
    sample: Sample,
    heats: Float32[np.ndarray, "word h w"],
    thresholds: Sequence[float],
    rough: Float32[np.ndarray, "label h w"],
    labels: UInt8[np.ndarray, "shift h w"],
    absent: Mapping[str, str],
) -> Masked:
    """Join the labels by thresholds with those a band away, by 255 where they differ."""
    targets = sample.prompt.targets
    ids = np.zeros(len(rough), np.uint8)  # rivals are background
    ids[1 : len(targets) + 1] = [target.class_id for target in targets]
    classes = ids[labels]
    class_map = classes[0]
    class_map[(classes != classes[0]).any(axis=0)] = IGNORE_ID
    lacking = [one for one in targets if not (class_map == one.class_id).any()]
    of_targets, thresholds = heats[: len(targets)], thresholds[: len(targets)]
    return Masked(
        class_map,
        thresholds,
        score(of_targets, thresholds, rough.argmax(0).astype(np.uint8), labels[0])
        | _presence_score(sample),
        {one.class_name: absent.get(one.word, NO_PIXEL) for one in lacking},
    )


def _unseen(sample: Sample, least_presence: float) -> dict[str, str]:
    """Return why a word names nothing in the picture, for those that the model says it of."""
    return {
        target.word: UNSEEN.format(sample.presences[target.word])
        for target in sample.prompt.targets
        if sample.presences.get(target.word, 1.0) <= least_presence
    }


def _presence_score(sample: Sample) -> dict[str, float]:
    return {"presence": min(sample.presences.values())} if sample.presences else {}


@dataclass(frozen=True, slots=True)
class _Seen:
    """The words of a sample, targets first: heat, thresholds by method, and what was captured."""

    heats: Float32[np.ndarray, "word h w"]
    thresholds: list[list[float]]
    attention: Float32[np.ndarray, "word h w"] | None


def _seen(
    sample: Sample,
    settings: MaskSettings,
    methods: Sequence[ThresholdMethod],
    absent: Collection[str],
) -> tuple[_Seen, Float32[np.ndarray, "candidate label h w"]]:
    """Return what is known of each word, and the label probabilities.

    Those are of each method in turn: by its thresholds, then by thresholds moved by the band.
    """
    targets, band, source = sample.prompt.targets, settings.uncertain_band, settings.source
    objects = None if source is None else source.source(sample)
    if source is not None and objects is not None and not source.fused:
        kept = objects.copy()
        for place, target in enumerate(targets, start=1):
            if target.word in absent:
                kept[0] += kept[place]
                kept[place] = 0
        seen = _Seen(kept[1:-1], [[0.5] * len(targets)] * len(methods), None)
        return seen, np.concatenate([alone(kept, band)] * len(methods))
    words = {target.word: target.class_name for target in targets}
    words |= {word: word for word in sample.heats if word not in words}
    pairs = [_evidence(sample, *one, settings, absent) for one in words.items()]
    attention, evidence = np.stack([heat for heat, _ in pairs]), [one for _, one in pairs]
    of_rivals = [_threshold(DEFAULT, one) for one in evidence[len(targets) :]]
    thresholds = [
        [*(_threshold(method, one) for one in evidence[: len(targets)]), *of_rivals]
        for method in methods
    ]
    shifts = (0.0, -band, band) if band else (0.0,)
    candidates = [[max(t + by, 0.0) for t in row] for row in thresholds for by in shifts]
    heats = np.stack([one.heat for one in evidence])
    rough = label_probabilities(heats, candidates, word_shares(attention))
    seen = _Seen(heats, thresholds, attention)
    return seen, rough if objects is None else fused(rough, objects)


def _threshold(method: ThresholdMethod, evidence: Evidence) -> float:
    return method(evidence) if evidence.heat.any() else 1.0


def _evidence(
    sample: Sample, word: str, class_name: str, settings: MaskSettings, absent: Collection[str]
) -> tuple[Heat, Evidence]:
    """Return the attention to a word, enlarged, and what its threshold is chosen from."""
    size_hw = (sample.image.shape[0], sample.image.shape[1])
    attention = heat = enlarge(sample.heats[word], size_hw)
    if word in absent:
        nothing = np.zeros_like(heat)
        return nothing, Evidence(sample.image, nothing, nothing, class_name)
    affinity = None
    if settings.affinity_of is not None:
        affinity = settings.affinity_of(sample.image, heat)
    elif word in sample.affinities:
        affinity = enlarge(sample.affinities[word], size_hw)
    if settings.heat == "affinity":
        if affinity is None:
            raise InputError("expected an affinity to threshold, got none; threshold the attention")
        heat = affinity
    return attention, Evidence(sample.image, heat, affinity, class_name)


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


def _cleaned(
    labels: Integer[np.ndarray, "h w"], seen: _Seen, settings: MaskSettings
) -> UInt8[np.ndarray, "h w"]:
    """Drop components that are too small or too cool to be the object."""
    kept = labels.astype(np.uint8)
    for label in np.unique(kept[kept > 0]):
        mask = labels == label
        whole = drop_small(mask, settings.min_area * labels.size)
        if seen.attention is not None:
            whole = drop_cool(whole, seen.attention[label - 1], settings.least_warmth)
        kept[mask & ~whole] = BACKGROUND_ID
    return kept
