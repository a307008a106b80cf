"""Prompts and seeds to images with one heat map per wanted word."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from diffumask.attention.aggregate import aggregate, localizing_weights
from diffumask.attention.capture import capture, has_self_attention
from diffumask.attention.defaults import MERGE, POWER
from diffumask.attention.propagate import propagated
from diffumask.attention.running_means import Attention
from diffumask.errors import InputError
from diffumask.types import (
    HEAT_LEVELS,
    GridHeat,
    Image,
    OnPhase,
    Prompt,
    Sample,
    unseen_phase,
)

from .calling import call_arguments
from .decoding import finite_decoding
from .phrases import rivals
from .presence import presences_of, tells_presence
from .settings import SampleSettings as SampleSettings

TELLS_STEPS = "_callback_tensor_inputs"  # of pipelines that call back after a step


def sample(
    pipe: DiffusionPipeline,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    settings: SampleSettings,
    on_phase: OnPhase = unseen_phase,
) -> list[Sample]:
    """Sample one image for each prompt and seed, in one batch, with the heat maps of its targets.

    Each image starts from its own seed on the CPU, so that it does not depend on the rest of the
    batch or on the device, up to rounding. `on_phase` is told of the steps. Raises
    `InputError` for latents, attention and images that are not finite; an image that overflows in
    half precision is decoded in float32.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"expected a seed per prompt, got {len(seeds)} for {len(prompts)}")
    if not prompts:
        return []
    sampled = sample_attention(pipe, prompts, seeds, settings, on_phase)
    return samples_of(pipe, sampled, prompts, seeds, settings)


class Sampled(NamedTuple):
    """A batch; `upcast` are the numbers of the images that had to be decoded in float32.

    `latents` are those after the last step, None where presences are not asked for.
    """

    images: list[Image]
    attention: Attention
    upcast: set[int]
    latents: Float[Tensor, "image channel h w"] | None = None


def sample_attention(
    pipe: DiffusionPipeline,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    settings: SampleSettings,
    on_phase: OnPhase = unseen_phase,
) -> Sampled:
    """Sample as `sample` does, at least one image, and leave the attention as it was captured."""
    words = [[target.word for target in prompt.targets] for prompt in prompts]
    also = [rivals(prompt) for prompt in prompts]
    asked = settings.presence and tells_presence(pipe)
    wants_matrix = settings.affinity and has_self_attention(pipe)
    matrices = {"self_attention": wants_matrix, "matrix_strides": settings.matrix_strides}
    last: dict[str, Tensor] = {}

    def see(drawing: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if asked:
            last.update(tensors)
        num_steps = len(drawing.scheduler.timesteps)  # of some schedulers more than asked for
        on_phase("sampling", step + 1, num_steps)
        if step + 1 == num_steps:
            on_phase("decoding", 0, 1)
        return tensors

    call: Any = pipe  # the base class leaves __call__ to its subclasses
    tells_steps = asked or (on_phase is not unseen_phase and hasattr(pipe, TELLS_STEPS))
    on_phase("sampling", 0, settings.num_inference_steps)
    with (
        finite_decoding(call.vae) as upcast,
        capture(pipe, words, also=also, **matrices) as attention,
    ):
        images = call(
            **call_arguments(pipe, [prompt.text for prompt in prompts], list(seeds), settings),
            **({"callback_on_step_end": see} if tells_steps else {}),
        ).images
    for what in ("sampling", "decoding"):  # whatever was told of them
        on_phase(what, 1, 1)
    return Sampled([np.array(image) for image in images], attention, upcast, last.get("latents"))


def samples_of(
    pipe: DiffusionPipeline,
    sampled: Sampled,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    settings: SampleSettings,
) -> list[Sample]:
    """Read what `sample_attention` gave as the merge, weights and power of the settings say."""
    how = settings.merge, settings.weights, settings.power
    maps = heat_maps(sampled.attention, *how, affinity=settings.affinity)
    found = presences_of(pipe, sampled.latents, prompts, seeds, maps)
    return [
        Sample(prompt, seed, image, *of_image, upcast=i in sampled.upcast, presences=found[i])
        for i, (prompt, seed, image, of_image) in enumerate(
            zip(prompts, seeds, sampled.images, maps, strict=True)
        )
    ]


@contextmanager
def enough_memory(n_images: int, settings: SampleSettings) -> Iterator[None]:
    """Turn what is raised where memory does not suffice for a batch into an InputError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        fewer = f"a batch size of {n_images // 2} or " if n_images > 1 else ""
        raise InputError(
            f"expected memory for {n_images} images of {settings.height}x{settings.width} at a "
            f"time, got too little; use {fewer}smaller images"
        ) from error


def _out_of_memory(error: RuntimeError) -> bool:
    # On the CPU torch has no exception of its own for this.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def heat_maps(
    attention: Attention,
    merge: str = MERGE,
    weights: Mapping[int, float] | None = None,
    power: int = POWER,
    *,
    affinity: bool = False,
) -> list[tuple[dict[str, GridHeat], dict[str, GridHeat]]]:
    """Return the heat map of each word of each image, and their propagation if it was captured.

    They are on the finest grid that counts, and rounded to `HEAT_LEVELS`. With `affinity`, heat
    that has no matrix to be propagated along stands for its propagation.
    """
    weights = weights or localizing_weights(attention)
    counted = {factor: size for size, factor in attention.factors.items() if weights.get(factor)}
    if not counted:
        known = sorted(attention.factors.values())
        raise InputError(f"expected weights of the grids {known} of the model, got {weights}")
    heats = aggregate(attention, counted[min(counted)], weights, merge)
    affinities = heats if affinity else [{} for _ in heats]
    if attention.self_matrices:
        affinities = propagated(attention, weights, merge, power)
    return [(rounded(h), rounded(a)) for h, a in zip(heats, affinities, strict=True)]


def rounded(heats: dict[str, GridHeat]) -> dict[str, GridHeat]:
    """Round heat to multiples of 1 / `HEAT_LEVELS`."""
    levels = {word: np.round(heat * HEAT_LEVELS) for word, heat in heats.items()}
    return {word: (of_word / HEAT_LEVELS).astype(np.float32) for word, of_word in levels.items()}
