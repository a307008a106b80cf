"""Pictures of others, as a transformer sees them while its pipeline samples.

A pipeline prepares what its transformer is told in ways of its own: packed latents, ids, guidance
as an input. So it samples as ever, and at each step the noised pictures and their timestep take
the place of what it would have seen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from diffumask.errors import InputError

from .noising import encode, noise_like

FLOW_TIMESTEPS = (250, 400, 500, 600)  # of 1000; as noisy as 100 to 400 of Stable Diffusion 1

Latents = Float[Tensor, "image channel h w"]


def _as_it_is(pipe: Any, latents: Latents) -> Tensor:
    return latents


def _in_patches(pipe: Any, latents: Latents) -> Float[Tensor, "image token packed"]:
    return pipe._pack_latents(latents, *latents.shape)  # no public way


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


SEEN: Mapping[str, Seen] = {
    "StableDiffusion3Pipeline": Seen(unguided={"guidance_scale": 1.0}),
    "FluxPipeline": Seen(pack=_in_patches, timestep_scale=1000.0),
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
    levels = getattr(pipe.scheduler, "alphas_cumprod", None)
    if levels is None:  # of a flow: from the picture straight to the noise
        share = timestep / 1000
        return (1 - share) * latents + share * noise
    signal = levels[timestep].to(latents.device, torch.float32)
    return signal.sqrt() * latents + (1 - signal).sqrt() * noise


@contextmanager
def _shown(transformer: nn.Module, show: Callable[[], dict[str, Any]]) -> Iterator[None]:
    def see(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | show()

    hook = transformer.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
