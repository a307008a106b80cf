"""The Segmentator as a source of masks: it reads the decoder while the pipeline decodes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from diffumask.labelled.labels import Labels
from diffumask.types import Objects, Prompt, Sample, Target

from .features import Autoencoder, hidden_states
from .file import Segmentator
from .heads import probabilities
from .predict import Predictor


@dataclass(frozen=True, slots=True)
class SegmentatorSource:
    """What a head sees; see `diffumask.masks.sources`.

    Images that it did not watch being made are encoded and decoded again.
    """

    segmentator: Segmentator
    vae: Autoencoder

    def __call__(self, sample: Sample) -> Objects:
        if sample.objects is not None:
            return sample.objects
        planes = Predictor(self.segmentator, self.vae).probabilities(sample.image)
        return objects_of(planes, self.segmentator.facts.labels, sample.prompt.targets)

    @contextmanager
    def watching(self, pipe: Any, prompts: Sequence[Prompt]) -> Iterator[list[Objects]]:
        """Read the hidden states of the pipeline's own decoding; nothing is decoded twice."""
        head, labels = self.segmentator.head, self.segmentator.facts.labels
        seen: list[Objects] = []
        with hidden_states(pipe.vae, head.reduce) as reading:
            yield seen
        # What overflows is decoded twice; the last states are those of the images.
        states = [None if one is None else one[-len(prompts) :] for one in reading.states()]
        with torch.no_grad():
            planes = probabilities(head(states)).cpu().numpy()
        for of_one, prompt in zip(planes, prompts, strict=True):
            seen.append(objects_of(of_one, labels, prompt.targets))


def objects_of(
    planes: Float32[np.ndarray, "head_label h w"], labels: Labels, targets: Sequence[Target]
) -> Objects:
    """Turn the probabilities of a head's labels into those of a prompt's targets.

    Classes that no target is of are "other"; of a head without background they are the background.
    """
    found = [labels.find(target.class_name) for target in targets]
    known = [label for label in found if label is not None]
    nothing = np.zeros_like(planes[0])
    named = [nothing if label is None else planes[label] for label in found]
    named = [
        plane / known.count(label) if label in known else plane
        for plane, label in zip(named, found, strict=True)
    ]
    background = planes[0] if labels.has_background else nothing
    other = np.maximum(1 - background - sum(named, nothing), 0)
    if not labels.has_background:
        background, other = other, nothing
    return np.stack([background, *named, other])
