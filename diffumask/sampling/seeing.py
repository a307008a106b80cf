"""Pictures of others, as a transformer sees them while its pipeline samples.

A pipeline prepares what its transformer is told in ways of its own: packed latents, ids, guidance
as an input. So it samples as ever, and at each step the noised pictures and their timestep take
the place of what it would have seen.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from diffumask.errors import InputError

from .decoding import in_single_precision
from .noising import encode, noise_like

FLOW_TIMESTEPS = (250, 400, 500, 600)  # of 1000; as noisy as 100 to 400 of Stable Diffusion 1

Latents = Float[Tensor, "image channel h w"]


def _as_it_is(pipe: Any, latents: Latents) -> Tensor:
    return latents


def _in_patches(pipe: Any, latents: Latents) -> Float[Tensor, "image token packed"]:
    return pipe._pack_latents(latents, *latents.shape)  # no public way


def _of_deep_compression(pipe: Any, images: UInt8[np.ndarray, "image height width 3"]) -> Latents:
    """Return what the autoencoder of Sana, which draws nothing at random, makes of images."""
    pixels = torch.from_numpy(images).to(pipe.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with in_single_precision(pipe.vae):
        return pipe.vae.encode(pixels).latent * pipe.vae.config.scaling_factor


@dataclass(frozen=True, slots=True)
class Seen:
    """How the transformer of a pipeline is shown pictures.

    `encode` makes latents of images, `pack` what the transformer takes of them as `argument`;
    a timestep of 0 to 1000 is divided by `timestep_scale`. `unguided` are the arguments of the
    pipeline that leave guidance out.
    """

    encode: Callable[[Any, UInt8[np.ndarray, "image height width 3"]], Latents] = encode
    pack: Callable[[Any, Latents], Any] = _as_it_is
    argument: str = "hidden_states"
    timestep_scale: float = 1.0
    unguided: Mapping[str, Any] | None = None


UNGUIDED = {"guidance_scale": 1.0}
PLAIN_SIZES = {"use_resolution_binning": False, "clean_caption": False} | UNGUIDED

SEEN: Mapping[str, Seen] = {
    "StableDiffusion3Pipeline": Seen(unguided=UNGUIDED),
    "FluxPipeline": Seen(pack=_in_patches, timestep_scale=1000.0),
    "ChromaPipeline": Seen(pack=_in_patches, timestep_scale=1000.0, unguided=UNGUIDED),
    "PixArtAlphaPipeline": Seen(unguided=PLAIN_SIZES),
    "PixArtSigmaPipeline": Seen(unguided=PLAIN_SIZES),
    "SanaPipeline": Seen(encode=_of_deep_compression, unguided=PLAIN_SIZES),
}


def seen_of(pipe: Any) -> Seen:
    """Return how a pipeline's transformer is shown pictures. Raises `InputError` for others."""
    kind = type(pipe).__name__
    if kind not in SEEN:
        raise InputError(
            f"expected a pipeline with a UNet, or one of {', '.join(SEEN)}, got {kind}"
        )
    return SEEN[kind]


def see_while_sampling(
    pipe: Any,
    latents: Latents,
    texts: list[str],
    generators: Sequence[torch.Generator],
    timesteps: Sequence[int],
) -> None:
    """Let a pipeline go through as many steps, each of which sees the pictures with other noise."""
    seen = seen_of(pipe)
    shown = iter(timesteps)

    def show(timestep: int) -> dict[str, Any]:
        noise = noise_like(latents, generators)
        noisy = seen.pack(pipe, noised(pipe, latents, noise, timestep))
        told = torch.full((len(latents),), timestep / seen.timestep_scale, device=latents.device)
        return {seen.argument: noisy.to(pipe.transformer.dtype), "timestep": told}

    with _shown(pipe.transformer, lambda: show(next(shown))):
        factor = pipe.vae_scale_factor
        pipe(
            prompt=texts,
            height=latents.shape[-2] * factor,
            width=latents.shape[-1] * factor,
            num_inference_steps=len(timesteps),
            output_type="latent",
            **(seen.unguided or {}),
        )


def noised(pipe: Any, latents: Latents, noise: Latents, timestep: int) -> Latents:
    """Return latents with as much noise as a timestep of 0 to 999 has."""
    if is_flow(pipe):  # from the picture straight to the noise
        share = timestep / 1000
        return (1 - share) * latents + share * noise
    signal = pipe.scheduler.alphas_cumprod[timestep].to(latents.device, torch.float32)
    return signal.sqrt() * latents + (1 - signal).sqrt() * noise


def is_flow(pipe: Any) -> bool:
    """Whether a pipeline's scheduler is that of a flow, and has no levels of noise of its own."""
    predicts = pipe.scheduler.config.get("prediction_type")
    return predicts == "flow_prediction" or not hasattr(pipe.scheduler, "alphas_cumprod")


@contextmanager
def _shown(transformer: nn.Module, show: Callable[[], dict[str, Any]]) -> Iterator[None]:
    forward = inspect.signature(type(transformer).forward)

    def see(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        # Some give the latents by position.
        given = dict(forward.bind(module, *args, **kwargs).arguments)
        del given["self"]
        return (), given | show()

    hook = transformer.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
