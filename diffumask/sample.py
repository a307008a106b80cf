"""Prompts and seeds to images with one heat map per wanted word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from diffumask.aggregate import aggregate, localizing_weights
from diffumask.capture import capture
from diffumask.errors import InputError
from diffumask.types import Prompt, Sample

SIZE_STEP = 8  # diffusers refuses other sizes, whatever the factor of the VAE


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """How to sample: sizes in pixels, multiples of 8; a guidance_scale of 1 or less is none."""

    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1:
            raise InputError(
                f"expected at least 1 num_inference_steps, got {self.num_inference_steps}"
            )
        for name, size in (("height", self.height), ("width", self.width)):
            if size < SIZE_STEP or size % SIZE_STEP:
                near = max(1, round(size / SIZE_STEP)) * SIZE_STEP
                raise InputError(
                    f"expected a {name} divisible by {SIZE_STEP}, got {size}; use {near}"
                )


def sample(
    pipe: DiffusionPipeline,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    settings: SampleSettings,
) -> list[Sample]:
    """Sample one image for each prompt and seed, in one batch, with the heat maps of its targets.

    Each image starts from its own seed on the CPU, so that it does not depend on the rest of the
    batch or on the device, up to rounding.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"expected a seed per prompt, got {len(seeds)} for {len(prompts)}")
    if not prompts:
        return []
    words = [[target.word for target in prompt.targets] for prompt in prompts]
    negative = settings.negative_prompt
    call: Any = pipe  # the base class leaves __call__ to its subclasses
    with capture(pipe, words) as attention:
        images = call(
            [prompt.text for prompt in prompts],
            # None, not "": SDXL then takes the zeros it was trained with
            negative_prompt=[negative] * len(prompts) if negative else None,
            height=settings.height,
            width=settings.width,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
    size_hw = (settings.height, settings.width)
    heats = aggregate(attention, size_hw, weights=localizing_weights(attention))
    return [
        Sample(prompt, seed, np.array(image), heat)
        for prompt, seed, image, heat in zip(prompts, seeds, images, heats, strict=True)
    ]
