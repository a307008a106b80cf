"""Images and their captions to heat maps: what a model attends to in pictures it did not make."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from diffumask.attention.capture import capture, has_self_attention
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.recording import ALL_STEPS
from diffumask.attention.running_means import Attention
from diffumask.errors import InputError
from diffumask.types import Prompt, Sample

from .decoding import in_single_precision
from .noising import conditions, encode, generator_of, noise_like, signal_shares, with_noise
from .phrases import rivals
from .presence import presences_of
from .sample import heat_maps
from .seeing import FLOW_TIMESTEPS, is_flow, see_while_sampling, seen_of

AnyImage = Shaped[np.ndarray, "..."]  # checked below

TIMESTEPS = (
    100,
    200,
    300,
    400,
)  # of 1000; on renders by `tiny` 20 to 400 show an object alike, later ones worse


def observe(
    pipe: DiffusionPipeline,
    images: Sequence[AnyImage],
    prompts: Sequence[Prompt],
    *,
    seeds: Sequence[int],
    timesteps: Sequence[int] | None = None,
    affinity: bool = False,
    presence: bool = False,
) -> list[Sample]:
    """Make samples of given images, all of one size: heat maps of the words of their captions.

    Each image is encoded, noised to each of the `timesteps` (of the model's training, 0 the least
    noise; by default those of the module, of a transformer those of `seeing`) and seen by the
    network once each, without guidance; the attention is averaged. An item has noise of its own,
    from its seed, so that it does not depend on the rest of the batch. `affinity` asks for the
    heat maps propagated along self-attention as well, `presence` for how much each target explains
    of its image (see `presence.presences`). For many batches `observing` is cheaper. Raises
    `InputError` for images that the model cannot take, for timesteps that it does not have, and
    for pipelines of no known kind.
    """
    if not len(images) == len(prompts) == len(seeds):
        raise ValueError(
            f"expected a prompt and a seed per image, got {len(images)} images,"
            f" {len(prompts)} prompts and {len(seeds)} seeds"
        )
    if not images:
        return []
    attention, latents = observe_attention(
        pipe, images, prompts, seeds=seeds, timesteps=timesteps, affinity=affinity
    )
    maps = heat_maps(attention)
    found = presences_of(pipe, latents if presence else None, prompts, seeds, maps)
    return [
        Sample(prompt, seed, image, heats, affinities, presences=of_image)
        for prompt, seed, image, (heats, affinities), of_image in zip(
            prompts, seeds, images, maps, found, strict=True
        )
    ]


@contextmanager
def observing(pipe: DiffusionPipeline) -> Iterator[Callable[..., list[Sample]]]:
    """Yield `observe` of a pipeline whose autoencoder is in float32 until the end of the block.

    `observe` alone brings one in half precision to float32 and back at each call. Other calls of
    the pipeline belong after the block, where the autoencoder is as before.
    """
    of_model: Any = pipe
    with in_single_precision(of_model.vae):
        yield partial(observe, pipe)


class Observed(NamedTuple):
    """What was captured of a batch, and its latents as the network takes them."""

    attention: Attention
    latents: Float[Tensor, "image channel h w"]


@torch.no_grad()
def observe_attention(
    pipe: DiffusionPipeline,
    images: Sequence[AnyImage],
    prompts: Sequence[Prompt],
    *,
    seeds: Sequence[int],
    timesteps: Sequence[int] | None = None,
    affinity: bool = False,
) -> Observed:
    """Do as `observe`, of at least one image, and leave the attention as it was captured."""
    of_model: Any = pipe  # its parts are attributes of subclasses
    _check_images(images, of_model)
    words = [[target.word for target in prompt.targets] for prompt in prompts]
    also = [rivals(prompt) for prompt in prompts]
    texts = [prompt.text for prompt in prompts]
    generators = [generator_of(seed) for seed in seeds]
    timesteps = _usual_timesteps(pipe) if timesteps is None else timesteps
    see = _see_with_unet if _has_unet(pipe) else _see_with_transformer
    kept = {
        "steps": ALL_STEPS,
        "self_attention": affinity and has_self_attention(pipe),
        "matrix_strides": EVERY_MATRIX,  # of few timesteps each counts
    }
    with capture(pipe, words, also=also, **kept) as attention:
        latents = see(of_model, np.stack(images), texts, generators, timesteps)
    return Observed(attention, latents)


def _see_with_unet(
    pipe: Any,
    images: UInt8[np.ndarray, "image height width 3"],
    texts: list[str],
    generators: Sequence[torch.Generator],
    timesteps: Sequence[int],
) -> Float[Tensor, "image channel h w"]:
    shares = signal_shares(pipe, timesteps)
    latents = encode(pipe, images)
    told = conditions(pipe, texts, (images.shape[1], images.shape[2]))
    for timestep, share in zip(timesteps, shares, strict=True):
        noisy = with_noise(latents, noise_like(latents, generators), share)
        pipe.unet(noisy.to(pipe.unet.dtype), timestep, **told)
    return latents


def _see_with_transformer(
    pipe: Any,
    images: UInt8[np.ndarray, "image height width 3"],
    texts: list[str],
    generators: Sequence[torch.Generator],
    timesteps: Sequence[int],
) -> Float[Tensor, "image channel h w"]:
    if not timesteps or not all(0 <= one < 1000 for one in timesteps):
        raise InputError(f"expected timesteps in 0..999, got {list(timesteps)}")
    latents = seen_of(pipe).encode(pipe, images)
    size_hw = images.shape[1], images.shape[2]
    see_while_sampling(pipe, latents, size_hw, texts, generators, timesteps)
    return latents


def _usual_timesteps(pipe: Any) -> tuple[int, ...]:
    """Return the timesteps at which pictures are looked at unless the caller says otherwise."""
    return TIMESTEPS if _has_unet(pipe) or not is_flow(pipe) else FLOW_TIMESTEPS


def _has_unet(pipe: Any) -> bool:
    return isinstance(getattr(pipe, "unet", None), UNet2DConditionModel)


def _check_images(images: Sequence[AnyImage], pipe: Any) -> None:
    if _has_unet(pipe):
        taken, made = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
        if taken != made:
            raise InputError(
                f"expected a UNet that takes {made} channels, got {taken}; not inpainting"
            )
    patch = 1 if _has_unet(pipe) else seen_of(pipe).patch
    kinds = {(image.shape, image.dtype) for image in images}
    (shape, dtype), *others = kinds
    if others:
        raise InputError(f"expected images of one size, got {sorted(map(str, kinds))}; resize them")
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        raise InputError(f"expected RGB images of 8 bits, got {shape} of {dtype}; convert them")
    factor = pipe.vae_scale_factor * patch
    if not min(shape) or shape[0] % factor or shape[1] % factor:
        raise InputError(
            f"expected images of sides divisible by {factor}, got {shape[0]}x{shape[1]}; crop them"
        )
