"""Which word each pixel may belong to, before the image has its say: all that have heat compete."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from diffumask.errors import InputError
from diffumask.types import Heat, Sample, Target

from .enlarge import enlarge
from .settings import MaskSettings
from .sources import alone, fused, named
from .thresholds import DEFAULT, Evidence, ThresholdMethod
from .unary import label_probabilities, word_shares


@dataclass(frozen=True, slots=True)
class Seen:
    """The words of a sample, targets first: heat, thresholds by method, and what was captured."""

    heats: Float32[np.ndarray, "word h w"]
    thresholds: list[list[float]]
    attention: Float32[np.ndarray, "word h w"] | None


def see(
    sample: Sample,
    settings: MaskSettings,
    methods: Sequence[ThresholdMethod],
    absent: Collection[str],
) -> tuple[Seen, Float32[np.ndarray, "candidate label h w"]]:
    """Return what is known of each word, and the label probabilities.

    Those are of each method in turn: by its thresholds, then by thresholds moved by the band.
    """
    targets, band, source = sample.prompt.targets, settings.uncertain_band, settings.source
    words = {target.word: target.class_name for target in targets}
    words |= {word: word for word in sample.heats if word not in words}
    objects = None if source is None else source.source(sample)
    if objects is not None:
        objects = _without(objects, targets, absent)
    if source is not None and objects is not None and not source.fused:
        attention = None
        if objects[-1].any():  # what the source cannot name
            attention = np.stack([_attention(sample, word, absent) for word in words])
            objects = named(objects, attention)
        seen = Seen(objects[1:-1], [[0.5] * len(targets)] * len(methods), attention)
        return seen, np.concatenate([alone(objects, band)] * len(methods))
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
    seen = Seen(heats, thresholds, attention)
    if objects is None:
        return seen, rough
    # an object that the source cannot name may be any target, but none that is absent
    return seen, np.stack([_without(one, targets, absent) for one in fused(rough, objects)])


def _without(
    planes: Float32[np.ndarray, "label h w"], targets: Sequence[Target], absent: Collection[str]
) -> Float32[np.ndarray, "label h w"]:
    """Give the background, plane 0, what planes 1, 2, ... give to targets that are absent."""
    kept = planes.copy()
    for plane, target in zip(kept[1:], targets, strict=False):
        if target.word in absent:
            kept[0] += plane
            plane[:] = 0
    return kept


def _threshold(method: ThresholdMethod, evidence: Evidence) -> float:
    return method(evidence) if evidence.heat.any() else 1.0


def _attention(sample: Sample, word: str, absent: Collection[str]) -> Heat:
    """Return the attention to a word, enlarged; none of it to one that is absent."""
    heat = enlarge(sample.heats[word], (sample.image.shape[0], sample.image.shape[1]))
    return np.zeros_like(heat) if word in absent else heat


def _evidence(
    sample: Sample, word: str, class_name: str, settings: MaskSettings, absent: Collection[str]
) -> tuple[Heat, Evidence]:
    """Return the attention to a word, enlarged, and what its threshold is chosen from."""
    attention = heat = _attention(sample, word, absent)
    if word in absent:
        return heat, Evidence(sample.image, heat, heat, class_name)
    affinity = None
    if settings.affinity_of is not None:
        affinity = settings.affinity_of(sample.image, heat)
    elif word in sample.affinities:
        affinity = enlarge(sample.affinities[word], heat.shape)
    if settings.heat == "affinity":
        if affinity is None:
            raise InputError("expected an affinity to threshold, got none; threshold the attention")
        heat = affinity
    return attention, Evidence(sample.image, heat, affinity, class_name)
