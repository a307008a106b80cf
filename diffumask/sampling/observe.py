"""Images and their captions to heat maps: what a model attends to in pictures it did not make."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from diffumask.attention.capture import capture
from diffumask.attention.recording import ALL_STEPS
from diffumask.attention.running_means import Attention
from diffumask.errors import InputError
from diffumask.types import Prompt, Sample

from .decoding import in_single_precision
from .sample import heat_maps

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
    timesteps: Sequence[int] = TIMESTEPS,
    affinity: bool = False,
) -> list[Sample]:
    """Make samples of given images, all of one size: heat maps of the words of their captions.

    Each image is encoded, noised to each of the `timesteps` (of the model's training, 0 the least
    noise) and seen by the UNet once each, without guidance; the attention is averaged. An item
    has noise of its own, from its seed, so that it does not depend on the rest of the batch.
    `affinity` asks for the heat maps propagated along self-attention as well. For many batches
    `observing` is cheaper. Raises `InputError` for images that the model cannot take, for timesteps
    that it does not have, and for models that are not Stable Diffusion 1, 2 or XL.
    """
    if not len(images) == len(prompts) == len(seeds):
        raise ValueError(
            f"expected a prompt and a seed per image, got {len(images)} images,"
            f" {len(prompts)} prompts and {len(seeds)} seeds"
        )
    if not images:
        return []
    attention = observe_attention(
        pipe, images, prompts, seeds=seeds, timesteps=timesteps, affinity=affinity
    )
    return [
        Sample(prompt, seed, image, heats, affinities)
        for prompt, seed, image, (heats, affinities) in zip(
            prompts, seeds, images, heat_maps(attention), strict=True
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


@torch.no_grad()
def observe_attention(
    pipe: DiffusionPipeline,
    images: Sequence[AnyImage],
    prompts: Sequence[Prompt],
    *,
    seeds: Sequence[int],
    timesteps: Sequence[int] = TIMESTEPS,
    affinity: bool = False,
) -> Attention:
    """Do as `observe`, of at least one image, and leave the attention as it was captured."""
    of_model: Any = pipe  # its parts are attributes of subclasses
    _check_images(images, of_model)
    signal_shares = _signal_shares(of_model, timesteps)
    latents = encode(of_model, np.stack(images))

    words = [[target.word for target in prompt.targets] for prompt in prompts]
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    with capture(pipe, words, steps=ALL_STEPS, self_attention=affinity) as attention:
        told = conditions(of_model, [prompt.text for prompt in prompts], images[0].shape[:2])
        for timestep, share in zip(timesteps, signal_shares, strict=True):
            noisy = share.sqrt() * latents + (1 - share).sqrt() * _noise(latents, generators)
            of_model.unet(noisy.to(of_model.unet.dtype), timestep, **told)
    return attention


def _check_images(images: Sequence[AnyImage], pipe: Any) -> None:
    if not isinstance(getattr(pipe, "unet", None), UNet2DConditionModel):
        raise InputError(f"expected a pipeline with a UNet, got {type(pipe).__name__}")
    taken, made = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    if taken != made:
        raise InputError(f"expected a UNet that takes {made} channels, got {taken}; not inpainting")
    kinds = {(image.shape, image.dtype) for image in images}
    (shape, dtype), *others = kinds
    if others:
        raise InputError(f"expected images of one size, got {sorted(map(str, kinds))}; resize them")
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        raise InputError(f"expected RGB images of 8 bits, got {shape} of {dtype}; convert them")
    factor = pipe.vae_scale_factor
    if not min(shape) or shape[0] % factor or shape[1] % factor:
        raise InputError(
            f"expected images of sides divisible by {factor}, got {shape[0]}x{shape[1]}; crop them"
        )


def _signal_shares(pipe: Any, timesteps: Sequence[int]) -> Sequence[Float[Tensor, ""]]:
    """Return the share of the signal in the variance at each timestep."""
    levels = getattr(pipe.scheduler, "alphas_cumprod", None)
    if levels is None:
        kind = type(pipe.scheduler).__name__
        raise InputError(f"expected a scheduler with alphas_cumprod, got {kind}; use DDIMScheduler")
    wrong = [timestep for timestep in timesteps if not 0 <= timestep < len(levels)]
    if wrong or not timesteps:
        raise InputError(f"expected timesteps in 0..{len(levels) - 1}, got {list(timesteps)}")
    return [levels[timestep].to(pipe.device, torch.float32) for timestep in timesteps]


def encode(
    pipe: Any, images: UInt8[np.ndarray, "image height width 3"]
) -> Float[Tensor, "image channel h w"]:
    """Return the mode of the latents as the UNet takes them, in single precision."""
    config = pipe.vae.config
    pixels = torch.from_numpy(images).to(pipe.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with in_single_precision(pipe.vae):  # in half precision the VAE of SDXL overflows
        mode = pipe.vae.encode(pixels).latent_dist.mode()
    if config.latents_mean is not None and config.latents_std is not None:
        mean, std = (
            torch.tensor(values, device=mode.device)[:, None, None]
            for values in (config.latents_mean, config.latents_std)
        )
        return (mode - mean) / std * config.scaling_factor
    return (mode - (config.shift_factor or 0)) * config.scaling_factor


def _noise(
    latents: Float[Tensor, "image channel h w"], generators: Sequence[torch.Generator]
) -> Float[Tensor, "image channel h w"]:
    shape = latents.shape[1:]
    drawn = [torch.randn(shape, generator=generator) for generator in generators]
    return torch.stack(drawn).to(latents.device)


def conditions(pipe: Any, texts: list[str], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments of the UNet that say what the images show."""
    encoded = pipe.encode_prompt(
        prompt=texts,
        device=pipe.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    told: dict[str, Any] = {"encoder_hidden_states": encoded[0]}
    addition = pipe.unet.config.addition_embed_type
    if addition == "text_time":  # Stable Diffusion XL: the image is whole, as large as it was
        pooled = encoded[2]
        size = torch.tensor([*size_hw, 0, 0, *size_hw], device=pooled.device, dtype=pooled.dtype)
        more = {"text_embeds": pooled, "time_ids": size.expand(len(texts), -1)}
        told["added_cond_kwargs"] = more
    elif addition is not None:
        raise InputError(f"expected the UNet of Stable Diffusion, got one that takes {addition}")
    return told
