"""Heat maps to a class map: compete, refine, doubt, drop what is no object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, UInt8

from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Sample

from .competition import Seen, see
from .components import drop_cool, drop_small
from .refine import refine
from .scores import score
from .settings import MaskSettings
from .thresholds import ThresholdMethod
from .unary import likeliest

NO_PIXEL = "no pixel above the threshold"
UNSEEN = "the picture is explained as well without the word (presence {:.3f})"


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
    seen, rough = see(sample, settings, methods, frozenset(absent))
    refined = refine(settings.refiner, sample.image, rough, settings.device)
    labels = np.stack([_cleaned(likeliest(one), seen, settings) for one in refined])
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
        {
            **score(of_targets, thresholds, likeliest(rough), labels[0]),
            **_presence_score(sample),
        },
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


def _cleaned(
    labels: UInt8[np.ndarray, "h w"], seen: Seen, settings: MaskSettings
) -> UInt8[np.ndarray, "h w"]:
    """Drop components that are too small or too cool to be the object."""
    kept = labels.copy()
    for label in range(1, int(labels.max(initial=0)) + 1):
        mask = labels == label
        whole = drop_small(mask, settings.min_area * labels.size)
        if seen.attention is not None:
            whole = drop_cool(whole, seen.attention[label - 1], settings.least_warmth)
        kept[mask & ~whole] = BACKGROUND_ID
    return kept
