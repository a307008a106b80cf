"""Prompts, seeds and settings as `diffumask generate` has them, for benchmarks that sample."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from diffumask.models import ModelSpec
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary
from diffumask.sampling.sample import SampleSettings
from diffumask.seeds import item_seed
from diffumask.types import Prompt

BATCH_SIZE = 10
T = TypeVar("T")


def settings_of(spec: ModelSpec, vocabulary: Vocabulary | None = None) -> SampleSettings:
    """Return the settings of a model, with the negative prompt of a vocabulary."""
    negative = vocabulary.negative_prompt if vocabulary else ""
    size = spec.height, spec.width
    return SampleSettings(spec.num_inference_steps, spec.guidance_scale, *size, negative)


def names_of(vocabulary: Vocabulary) -> list[str]:
    """Return the names of the classes."""
    return [entry.name for entry in vocabulary.classes]


def prompts_of(
    vocabulary: Vocabulary,
    names: Sequence[str],
    indices: Sequence[int],
    run_seed: int,
    objects: int = 1,
) -> list[tuple[Prompt, int]]:
    """Return prompt and seed of some items of each class, class after class."""
    seeds = [(name, item_seed(run_seed, name, index)) for name in names for index in indices]
    return [(build(vocabulary, name, seed, objects), seed) for name, seed in seeds]


def batches(items: Sequence[T], size: int = BATCH_SIZE) -> Iterator[Sequence[T]]:
    """Yield the items in parts of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
