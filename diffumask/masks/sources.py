"""Sources of masks beside attention, and how what they see is joined with attention.

A source looks at a sample and says for each pixel how probable it is of the background, of each
of the prompt's targets and of another object, as `Objects`: planes [background, target 1, ...,
target n, other], float32 at the size of the image, which sum to 1. A target that the source does
not know has a plane of zeros, and its pixels may be "other"; a source that cannot tell objects
from background without a name leaves "other" at 0.

To add one (a text-prompted network, one prompted by boxes): write a class with the two methods of
`Source`, put the function that makes it into the options of the command line, and nothing else
changes. `__call__` may use anything of the sample: the image, the prompt, the heat maps.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from diffumask.types import Objects, Prompt, Sample

from .unary import SHARPNESS, word_shares

CERTAIN = 1e-3  # no source is surer than this, so that the other one still counts

Probabilities = Float32[np.ndarray, "candidate label h w"]


@runtime_checkable
class Source(Protocol):
    """Sees the objects of samples."""

    def __call__(self, sample: Sample) -> Objects:
        """Return the objects of a sample; `sample.objects` where `watching` has seen them."""
        ...

    def watching(
        self, pipe: Any, prompts: Sequence[Prompt]
    ) -> AbstractContextManager[list[Objects]]:
        """Watch the pipeline make one batch; on exit the list has the objects of each image.

        A source that looks at the image alone leaves it empty.
        """
        ...


@dataclass(frozen=True, slots=True)
class MaskSource:
    """A source and what it is for: alone in place of attention, or `fused` with it."""

    source: Source
    fused: bool

    def watching(
        self, pipe: Any, prompts: Sequence[Prompt]
    ) -> AbstractContextManager[list[Objects]]:
        """Watch the pipeline make one batch, as `Source` says."""
        return self.source.watching(pipe, prompts)


def watching(
    source: MaskSource | None, pipe: Any, prompts: Sequence[Prompt]
) -> AbstractContextManager[list[Objects]]:
    """Let a source watch the pipeline make one batch; without one the list stays empty."""
    return nullcontext([]) if source is None else source.watching(pipe, prompts)


def named(objects: Objects, attention: Float32[np.ndarray, "word h w"]) -> Objects:
    """Give to words what a source sees but cannot name: it outlines, attention names.

    A pixel is shared by how probable each word, targets first, is there by its attention. What goes
    to rivals, the words after the targets, stays another object, as does all where no word has
    attention. Means over connected regions did worse on development scenes: objects that touch
    are one region.
    """
    has_heat = attention.any(axis=(1, 2), keepdims=True)
    shares = word_shares(attention) * has_heat
    of_targets = shares[: len(objects) - 2] * objects[-1:]
    rest = np.maximum(objects[-1:] - of_targets.sum(axis=0), 0)
    return np.concatenate([objects[:1], objects[1:-1] + of_targets, rest])


def alone(objects: Objects, band: float) -> Probabilities:
    """Return the probability of each label by a source alone; other objects are background.

    With a band, two further candidates have the odds of objects raised and lowered as much as
    moving the thresholds of attention by it would.
    """
    labels = np.concatenate([objects[:1] + objects[-1:], objects[1:-1]])
    shifts = (0.0, band, -band) if band else (0.0,)
    weights = np.stack([labels] * len(shifts))
    weights[:, 1:] *= np.exp(SHARPNESS * np.array(shifts, np.float32))[:, None, None, None]
    return _normalised(weights)


def fused(attention: Probabilities, objects: Objects) -> Probabilities:
    """Return the product of what attention and a source say, made to sum to 1.

    Attention names the object and the source draws its border: an object that the source cannot
    name, or names otherwise, may be any target, and attention says which. Labels of attention
    after those of the targets are rivals, which to the source are other objects.
    """
    num_rivals = attention.shape[1] - (len(objects) - 1)
    likelihood = np.concatenate([objects[:-1], np.repeat(objects[-1:], num_rivals, axis=0)])
    likelihood[1 : len(objects) - 1] += objects[-1]
    likelihood = np.maximum(likelihood, CERTAIN)
    return _normalised(np.maximum(attention, CERTAIN) * likelihood)


def _normalised(weights: Probabilities) -> Probabilities:
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
