"""Is what a word names in the picture? A model tells: it predicts the picture worse without it.

A diffusion model that is told what a picture shows removes noise from it with a smaller error than
one that is told something else (Li et al. 2023, "Your diffusion model is secretly a zero-shot
classifier"). Here the two texts differ in one phrase, and the errors count where the word is warm.
Attention itself does not tell: a word that names nothing is as warm somewhere
(benchmarks/results/masks.md).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from diffumask.seeds import item_seed
from diffumask.types import GridHeat, Prompt, Target

from .noising import conditions, generator_of, noise_like, signal_shares, with_noise
from .phrases import text_without

TIMESTEPS = (200, 400)  # of 1000: each costs a picture an evaluation, and one for each target

DECIMALS = 6

Latents = Float[Tensor, "image channel h w"]

# What networks of diffusers predict, of latents, noise and the share of the signal.
PREDICTIONS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda latents, noise, share: noise,
    "sample": lambda latents, noise, share: latents,
    "v_prediction": lambda latents, noise, share: (
        share.sqrt() * noise - (1 - share).sqrt() * latents
    ),
}


def tells_presence(pipe: Any) -> bool:
    """Whether a pipeline can be asked: of Stable Diffusion 1, 2 or XL, not inpainting, no LCM."""
    unet = getattr(pipe, "unet", None)
    unet = getattr(unet, "_orig_mod", unet)  # inside what torch.compile returned
    return (
        isinstance(unet, UNet2DConditionModel)
        and unet.config["in_channels"] == pipe.vae.config.latent_channels
        and unet.config["addition_embed_type"] in (None, "text_time")
        and unet.config["time_cond_proj_dim"] is None  # those jump to the end of the way instead
        and len(getattr(pipe.scheduler, "alphas_cumprod", ())) > max(TIMESTEPS)
        and pipe.scheduler.config.get("prediction_type") in PREDICTIONS
    )


@torch.no_grad()
def presences(
    pipe: DiffusionPipeline,
    latents: Latents,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    heats: Sequence[Mapping[str, GridHeat]],
) -> list[dict[str, float]]:
    """Return for each image how much its targets, one at least, explain of it, by word, in [0, 1].

    The squared error without the word as a share of it and of that with the word, weighed by the
    word's heat: 1/2 where the word explains nothing, less where it misleads. `latents` are as the
    UNet takes them. Noise follows from the seeds, so that an item does not depend on its batch.
    Raises InputError as `conditions`.
    """
    of_model: Any = pipe
    h, w = (of_model.vae_scale_factor * side for side in latents.shape[-2:])
    asked = [(i, target) for i, prompt in enumerate(prompts) for target in prompt.targets]
    owners = [i for i, _ in asked]
    without = [text_without(prompts[i], target) for i, target in asked]
    told = conditions(of_model, [prompt.text for prompt in prompts], (h, w))
    told_without = conditions(of_model, without, (h, w))
    weights = torch.cat([_weight(heats[i], target, latents) for i, target in asked])
    generators = [generator_of(item_seed(seed, "presence", 0)) for seed in seeds]

    errors = latents.new_zeros(2, len(asked), dtype=torch.float32)
    for timestep, share in zip(TIMESTEPS, signal_shares(of_model, TIMESTEPS), strict=True):
        noise = noise_like(latents, generators)
        see = partial(_squared_error, of_model, timestep, share)
        errors[0] += (weights * see(latents[owners], noise[owners], told_without)).sum((1, 2))
        errors[1] += (weights * see(latents, noise, told)[owners]).sum((1, 2))
    found: list[dict[str, float]] = [{} for _ in prompts]
    for (i, target), share in zip(asked, (errors[0] / errors.sum(0)).tolist(), strict=True):
        found[i][target.word] = round(share, DECIMALS)
    return found


def presences_of(
    pipe: DiffusionPipeline,
    latents: Latents | None,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    maps: Sequence[tuple[Mapping[str, GridHeat], Mapping[str, GridHeat]]],
) -> list[dict[str, float]]:
    """Do as `presences`, by the heat after propagation where there is any.

    Empty without latents, for a pipeline that cannot be asked, and where nothing is asked for.
    """
    asked = any(prompt.targets for prompt in prompts)
    if latents is None or not asked or not tells_presence(pipe):
        return [{} for _ in prompts]
    heats = [{**attention, **affinities} for attention, affinities in maps]
    return presences(pipe, latents, prompts, seeds, heats)


def _weight(
    heats: Mapping[str, GridHeat], target: Target, latents: Latents
) -> Float32[Tensor, "1 h w"]:
    """Return the heat of a word on the grid of the latents; the same everywhere where it is 0."""
    heat = torch.from_numpy(heats[target.word]).to(latents.device)
    resized = functional.interpolate(
        heat[None, None], latents.shape[-2:], mode="bilinear", antialias=True
    )[0]
    return resized if resized.any() else torch.ones_like(resized)


def _squared_error(
    pipe: Any,
    timestep: int,
    share: Float[Tensor, ""],
    latents: Latents,
    noise: Latents,
    told: Mapping[str, Any],
) -> Float32[Tensor, "image h w"]:
    """Return the mean over channels of the squared error of one prediction."""
    noisy = with_noise(latents, noise, share)
    predicted = pipe.unet(noisy.to(pipe.unet.dtype), timestep, **told).sample.float()
    wanted = PREDICTIONS[pipe.scheduler.config.prediction_type](latents, noise, share)
    return (predicted - wanted).square().mean(dim=1)
