"""What a model attends to in pictures, read in several ways, and what controls without text see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32

from diffumask.attention.defaults import POWER
from diffumask.attention.propagate import propagate
from diffumask.attention.running_means import Attention, SizeHW
from diffumask.sampling.observe import TIMESTEPS, observe_attention
from diffumask.sampling.presence import presences_of
from diffumask.sampling.sample import SampleSettings, heat_maps, rounded, sample_attention
from diffumask.types import (
    ClassMap,
    GridHeat,
    Image,
    OnPhase,
    Prompt,
    Sample,
    Target,
    unseen_phase,
)

from .controls import HEATS, with_heat, with_wrong_word


@dataclass(frozen=True, slots=True)
class Reading:
    """How attention becomes heat: as in `observe` and `SampleSettings`.

    `weights` are pairs of the factor of a grid and its weight, None being `localizing_weights`.
    Pictures that the model drew have no timesteps.
    """

    timesteps: tuple[int, ...] = TIMESTEPS
    weights: tuple[tuple[int, float], ...] | None = None
    power: int = POWER


@dataclass(frozen=True, slots=True)
class Picture:
    """An image whose first target is asked for, and a word of something that it does not show.

    In the truth the targets are 1, 2, ... in their order, other objects follow, 255 does not count.
    """

    image: Image
    prompt: Prompt
    seed: int
    wrong: str
    truth: ClassMap | None = None

    @property
    def class_name(self) -> str:
        """The class that is asked for."""
        return self.prompt.targets[0].class_name


@dataclass(frozen=True, slots=True)
class Read:
    """A picture as attention shows it, by each reading; the wrong word; and controls, by power."""

    picture: Picture
    samples: Mapping[Reading, Sample]
    wrong: Mapping[Reading, Sample]
    controls: Mapping[int, Mapping[str, Sample]]


def grids(pipe: Any, size_hw: SizeHW) -> list[int]:
    """Return by how much the grids of attention are smaller than the latents, in rising order.

    Raises InputError as `observe` does, for a model whose attention cannot be read.
    """
    grey = np.full((*size_hw, 3), 128, np.uint8)
    prompt = Prompt("a picture", (Target("picture", "picture", 1),))
    attention, _ = observe_attention(pipe, [grey], [prompt], seeds=[0], timesteps=TIMESTEPS[:1])
    return sorted(attention.factors.values())


def look(pipe: Any, pictures: Sequence[Picture], readings: Sequence[Reading]) -> list[Read]:
    """Look at pictures of one size, in one batch. Raises InputError as `observe` does."""
    seen = _observed(pipe, pictures, [one.prompt for one in pictures], readings)
    return _completed(pipe, pictures, *seen, readings)


def draw(
    pipe: Any,
    pictures: Sequence[Picture],
    settings: SampleSettings,
    readings: Sequence[Reading],
    on_phase: OnPhase = unseen_phase,
) -> list[Read]:
    """Draw the pictures of prompts and seeds, whatever image is given, and read them meanwhile.

    Readings without timesteps. Raises InputError as `sample` and `observe` do.
    """
    prompts, seeds = [one.prompt for one in pictures], [one.seed for one in pictures]
    sampled = sample_attention(pipe, prompts, seeds, settings, on_phase)
    drawn = [replace(one, image=image) for one, image in zip(pictures, sampled.images, strict=True)]
    present = presences_of(pipe, sampled.latents, prompts, seeds, heat_maps(sampled.attention))
    seen: list[dict[Reading, Sample]] = [{} for _ in prompts]
    _read(seen, drawn, prompts, sampled.attention, present, readings)
    return _completed(pipe, drawn, seen, sampled.attention, readings)


def _completed(
    pipe: Any,
    pictures: Sequence[Picture],
    seen: Sequence[dict[Reading, Sample]],
    attention: Attention,
    readings: Sequence[Reading],
) -> list[Read]:
    """Add what a wrong word and the controls show; no other timesteps than those of the first."""
    prompts = [with_wrong_word(one.prompt, one.wrong) for one in pictures]
    alike = [one for one in readings if one.timesteps == readings[0].timesteps]
    looked = _observed(pipe, pictures, prompts, alike).samples
    size_hw, matrices = _matrices(attention, len(pictures))
    reads = []
    for i, (picture, samples) in enumerate(zip(pictures, seen, strict=True)):
        powers = {one.power for one in readings}
        sample = samples[readings[0]]
        asked = replace(sample, prompt=replace(sample.prompt, targets=sample.prompt.targets[:1]))
        controls = {power: control_samples(asked, size_hw, matrices[i], power) for power in powers}
        reads.append(Read(picture, samples, looked[i], controls))
    return reads


class _Observed(NamedTuple):
    """The samples of each picture by reading, and the attention at the first timesteps."""

    samples: list[dict[Reading, Sample]]
    attention: Attention


def _observed(
    pipe: Any,
    pictures: Sequence[Picture],
    prompts: Sequence[Prompt],
    readings: Sequence[Reading],
) -> _Observed:
    """Look once for each set of timesteps: by default where a reading has none."""
    images, seeds = [one.image for one in pictures], [one.seed for one in pictures]
    found: list[dict[Reading, Sample]] = [{} for _ in pictures]
    present: list[dict[str, float]] = []
    attentions = []
    for timesteps in dict.fromkeys(one.timesteps for one in readings):
        attention, latents = observe_attention(
            pipe, images, prompts, seeds=seeds, timesteps=timesteps or None, affinity=True
        )
        attentions.append(attention)
        # hardly another at other timesteps, and several evaluations
        present = present or presences_of(pipe, latents, prompts, seeds, heat_maps(attention))
        chosen = [one for one in readings if one.timesteps == timesteps]
        _read(found, pictures, prompts, attention, present, chosen)
    return _Observed(found, attentions[0])


def _read(
    found: list[dict[Reading, Sample]],
    pictures: Sequence[Picture],
    prompts: Sequence[Prompt],
    attention: Attention,
    present: Sequence[Mapping[str, float]],
    readings: Sequence[Reading],
) -> None:
    """Add the samples of each picture by each reading of its attention."""
    for reading in readings:
        weights = None if reading.weights is None else dict(reading.weights)
        maps = heat_maps(attention, weights=weights, power=reading.power, affinity=True)
        for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
            found[i][reading] = Sample(
                prompt, picture.seed, picture.image, *maps[i], presences=present[i]
            )


def _matrices(
    attention: Attention, n_pictures: int
) -> tuple[SizeHW, Sequence[Float32[torch.Tensor, "n n"] | None]]:
    """Return the matrix of each picture and its grid, or None and that of the words."""
    for size_hw, matrices in attention.self_matrices.items():
        return size_hw, list(matrices)
    return max(attention.factors), [None] * n_pictures


def control_samples(
    sample: Sample,
    size_hw: SizeHW,
    matrix: Float32[torch.Tensor, "n n"] | None,
    power: int = POWER,
) -> dict[str, Sample]:
    """Give each control heat the way of attention: along the picture's own self-attention.

    `matrix` is that of `Attention.self_matrices`, `size_hw` the size of its grid; None where there
    is none, and heat stays as it is.
    """

    def spread(heat: GridHeat) -> GridHeat:
        if matrix is None:
            return heat
        after = propagate(torch.from_numpy(heat)[None], matrix, power)[0].cpu().numpy()
        return rounded({"": after})[""]

    return {
        name: with_heat(sample, heat_of(sample.image, size_hw), spread)
        for name, heat_of in HEATS.items()
    }
