"""Pictures of others, as a transformer sees them while its pipeline samples.

A pipeline prepares what its transformer is told in ways of its own: packed latents, ids, guidance
as an input. So it samples as ever, and at each step the noised pictures and their timestep take
the place of what it would have seen.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from diffumask.errors import InputError

from .decoding import in_single_precision
from .noising import encode, noise_like, pixels_of, signal_shares, with_noise

FLOW_TIMESTEPS = (250, 400, 500, 600)  # of 1000; as noisy as 100 to 400 of Stable Diffusion 1

Images = UInt8[np.ndarray, "image height width 3"]
Latents = Float[Tensor, "image channel h w"]


def _encode_sana(pipe: Any, images: Images) -> Latents:
    """Return what the autoencoder of Sana makes of images; it draws nothing at random."""
    with in_single_precision(pipe.vae):
        return pipe.vae.encode(pixels_of(pipe, images)).latent * pipe.vae.config.scaling_factor


def _encode_flux2(pipe: Any, images: Images) -> Latents:
    """Return patches of 2x2 latents, each channel as far from its mean as the model was told."""
    vae = pipe.vae
    with in_single_precision(vae):
        patches = pipe._patchify_latents(vae.encode(pixels_of(pipe, images)).latent_dist.mode())
    mean, variance = (
        one.view(1, -1, 1, 1).to(patches) for one in (vae.bn.running_mean, vae.bn.running_var)
    )
    return (patches - mean) / torch.sqrt(variance + vae.config.batch_norm_eps)


def _encode_qwen(pipe: Any, images: Images) -> Latents:
    """Return the latents of videos of one frame, each channel by its mean and deviation."""
    with in_single_precision(pipe.vae):
        mode = pipe.vae.encode(pixels_of(pipe, images)[:, :, None]).latent_dist.mode()[:, :, 0]
    mean, deviation = (
        torch.tensor(values, device=mode.device)[:, None, None]
        for values in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std)
    )
    return (mode - mean) / deviation


def _as_it_is(pipe: Any, latents: Latents) -> Tensor:
    return latents


def _in_patches(pipe: Any, latents: Latents) -> Float[Tensor, "image token packed"]:
    return pipe._pack_latents(latents, *latents.shape)  # no public way


def _in_rows(pipe: Any, latents: Latents) -> Float[Tensor, "image token channel"]:
    return latents.flatten(2).mT


def _one_by_one(pipe: Any, latents: Latents) -> list[Tensor]:
    return list(latents[:, :, None])  # each a video of one frame


@dataclass(frozen=True, slots=True)
class Seen:
    """How the transformer of a pipeline is shown pictures.

    `encode` makes latents of images, `pack` what the transformer takes of them as an argument
    named `latents`; `told` makes of a timestep of 0 to 1000 what it takes as one named `timestep`.
    `unguided` are the arguments of the pipeline that leave guidance out. Sides of latents are
    multiples of `patch`.
    """

    encode: Callable[[Any, Images], Latents] = encode
    pack: Callable[[Any, Latents], Any] = _as_it_is
    told: Callable[[float], float] = float
    latents: str = "hidden_states"
    timestep: str = "timestep"
    unguided: Mapping[str, Any] | None = None
    patch: int = 2


def _share(timestep: float) -> float:
    return timestep / 1000


def _share_of_signal(timestep: float) -> float:
    return 1 - timestep / 1000


UNGUIDED = {"guidance_scale": 1.0}
PLAIN_SIZES = {"use_resolution_binning": False, "clean_caption": False} | UNGUIDED
FLUX2 = Seen(encode=_encode_flux2, pack=_in_rows, told=_share)

SEEN: Mapping[str, Seen] = {
    "StableDiffusion3Pipeline": Seen(unguided=UNGUIDED),
    "FluxPipeline": Seen(pack=_in_patches, told=_share),
    "ChromaPipeline": Seen(pack=_in_patches, told=_share, unguided=UNGUIDED),
    "PixArtAlphaPipeline": Seen(unguided=PLAIN_SIZES),
    "PixArtSigmaPipeline": Seen(unguided=PLAIN_SIZES),
    "SanaPipeline": Seen(encode=_encode_sana, unguided=PLAIN_SIZES, patch=1),
    "Flux2Pipeline": FLUX2,
    "Flux2KleinPipeline": replace(FLUX2, unguided=UNGUIDED),
    "OvisImagePipeline": Seen(pack=_in_patches, told=_share, unguided=UNGUIDED),
    "QwenImagePipeline": Seen(
        encode=_encode_qwen, pack=_in_patches, told=_share, unguided={"true_cfg_scale": 1.0}
    ),
    "ZImagePipeline": Seen(
        pack=_one_by_one,
        told=_share_of_signal,
        latents="x",
        timestep="t",
        unguided={"guidance_scale": 0.0},
    ),
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
    size_hw: tuple[int, int],
    texts: list[str],
    generators: Sequence[torch.Generator],
    timesteps: Sequence[int],
) -> None:
    """Let a pipeline go through as many steps, each of which sees the pictures with other noise."""
    seen = seen_of(pipe)
    shown = iter(timesteps)

    def show(timestep: int) -> dict[str, Any]:
        noisy = noised(pipe, latents, noise_like(latents, generators), timestep)
        told = torch.full((len(latents),), seen.told(float(timestep)), device=latents.device)
        of_network = noisy.to(pipe.transformer.dtype)
        return {seen.latents: seen.pack(pipe, of_network), seen.timestep: told}

    with _shown(pipe.transformer, lambda: show(next(shown))):
        pipe(
            prompt=texts,
            height=size_hw[0],
            width=size_hw[1],
            num_inference_steps=len(timesteps),
            output_type="latent",
            **(seen.unguided or {}),
        )


def noised(pipe: Any, latents: Latents, noise: Latents, timestep: int) -> Latents:
    """Return latents with as much noise as a timestep of 0 to 999 has."""
    if is_flow(pipe):  # from the picture straight to the noise
        share = timestep / 1000
        return (1 - share) * latents + share * noise
    (signal,) = signal_shares(pipe, [timestep])
    return with_noise(latents, noise, signal)


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
