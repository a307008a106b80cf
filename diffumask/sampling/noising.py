"""What a network is given to see a picture: its latents, noise, and what the picture shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diffumask.errors import InputError

from .decoding import in_single_precision

EMBEDDED_GUIDANCE = (
    8.0  # that a latent consistency model is shown pictures with, as it is published
)


def computing_device(pipe: Any) -> torch.device:
    """Return where a pipeline computes; weights that are offloaded wait elsewhere."""
    return pipe._execution_device


def signal_shares(pipe: Any, timesteps: Sequence[int]) -> Sequence[Float[Tensor, ""]]:
    """Return the share of the signal in the variance at each timestep."""
    levels = getattr(pipe.scheduler, "alphas_cumprod", None)
    if levels is None:
        kind = type(pipe.scheduler).__name__
        raise InputError(f"expected a scheduler with alphas_cumprod, got {kind}; use DDIMScheduler")
    wrong = [timestep for timestep in timesteps if not 0 <= timestep < len(levels)]
    if wrong or not timesteps:
        raise InputError(f"expected timesteps in 0..{len(levels) - 1}, got {list(timesteps)}")
    device = computing_device(pipe)
    return [levels[timestep].to(device, torch.float32) for timestep in timesteps]


def pixels_of(
    pipe: Any, images: UInt8[np.ndarray, "image height width 3"]
) -> Float[Tensor, "image 3 height width"]:
    """Return images as an autoencoder takes them, in [-1, 1], where the pipeline computes."""
    pixels = torch.from_numpy(images).to(computing_device(pipe))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def encode(
    pipe: Any, images: UInt8[np.ndarray, "image height width 3"]
) -> Float[Tensor, "image channel h w"]:
    """Return the mode of the latents as the UNet takes them, in single precision.

    What an AutoencoderTiny encodes is no distribution, but the latents.
    """
    config = pipe.vae.config
    with in_single_precision(pipe.vae):  # in half precision the VAE of SDXL overflows
        (encoded,) = pipe.vae.encode(pixels_of(pipe, images), return_dict=False)
        mode = encoded if isinstance(encoded, Tensor) else encoded.mode()
    means, deviations = config.get("latents_mean"), config.get("latents_std")
    if means is not None and deviations is not None:
        mean, std = (
            torch.tensor(values, device=mode.device)[:, None, None]
            for values in (means, deviations)
        )
        return (mode - mean) / std * config.scaling_factor
    return (mode - (config.shift_factor or 0)) * config.scaling_factor


def generator_of(seed: int) -> torch.Generator:
    """Return what draws the noise of an item, the same on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def noise_like(
    latents: Float[Tensor, "image channel h w"], generators: Sequence[torch.Generator]
) -> Float[Tensor, "image channel h w"]:
    """Draw noise for each image from its own generator."""
    shape = latents.shape[1:]
    drawn = [torch.randn(shape, generator=generator) for generator in generators]
    return torch.stack(drawn).to(latents.device)


def with_noise(
    latents: Float[Tensor, "image channel h w"],
    noise: Float[Tensor, "image channel h w"],
    share: Float[Tensor, ""],
) -> Float[Tensor, "image channel h w"]:
    """Return latents of which the signal has a share of the variance, and noise the rest."""
    return share.sqrt() * latents + (1 - share).sqrt() * noise


def conditions(pipe: Any, texts: list[str], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments of the UNet that say what the images show."""
    encoded = pipe.encode_prompt(
        prompt=texts,
        device=computing_device(pipe),
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    told: dict[str, Any] = {"encoder_hidden_states": encoded[0]}
    width = pipe.unet.config.time_cond_proj_dim
    if width is not None:  # a latent consistency model, which knows no prompt without guidance
        excess = torch.full((len(texts),), EMBEDDED_GUIDANCE - 1)
        guidance = pipe.get_guidance_scale_embedding(excess, embedding_dim=width)
        told["timestep_cond"] = guidance.to(encoded[0])
    addition = pipe.unet.config.addition_embed_type
    if addition == "text_time":  # Stable Diffusion XL: the image is whole, as large as it was
        pooled = encoded[2]
        size = torch.tensor([*size_hw, 0, 0, *size_hw], device=pooled.device, dtype=pooled.dtype)
        more = {"text_embeds": pooled, "time_ids": size.expand(len(texts), -1)}
        told["added_cond_kwargs"] = more
    elif addition is not None:
        raise InputError(f"expected the UNet of Stable Diffusion, got one that takes {addition}")
    return told
