"""Train a LoRA on images with captions, as the model itself was trained."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from jaxtyping import Float, Int
from PIL import Image as PillowImage
from torch import Tensor, nn
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.files.atomic import write_new
from diffumask.labelled.pixels import read_image
from diffumask.sampling.decoding import in_single_precision
from diffumask.sampling.noising import conditions, encode
from diffumask.training import train
from diffumask.training.folder import TrainingFolder, digest
from diffumask.types import OnStep, unseen_step

from .captioned import Captioned
from .layers import lora_added, lora_content
from .settings import LoraSettings

CAPTION_DROPOUT = 0.1  # teaches the domain to the unconditional half of guidance too
MADE_BY = "diffumask lora train"


def train_lora(
    pipe: DiffusionPipeline,
    images: Sequence[Captioned],
    settings: LoraSettings,
    out: Path,
    folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    on_step: OnStep = unseen_step,
) -> None:
    """Train a LoRA, write it to `out` in the format of diffusers, and leave the pipeline as it was.

    With a folder a stopped training goes on there; it must be of the same settings, images and
    `identity` (such as the fingerprint of the model). Raises InputError for another one, for a
    model that does not predict noise, velocity or the image, for a loss that is not finite, and
    where `out` is another file already.
    """
    place = TrainingFolder(folder, MADE_BY, product=out) if folder else None
    wanted = {**(identity or {}), **asdict(settings), **_identity(images)}
    if place and place.is_finished(wanted):
        return
    loss = _Loss(pipe, images, settings)
    with (
        place.held(wanted) if place else nullcontext(),
        lora_added(pipe, settings.rank, settings.text_encoder, settings.seed) as parameters,
    ):
        # Of the list alone, not of the pipeline: a checkpoint then holds no frozen weights.
        train(nn.ParameterList(parameters), loss, settings.schedule(), folder, on_step=on_step)
        write_new({out: lora_content(pipe)}, "the LoRA")
        if place:
            place.finish()


class _Loss:
    """The loss of a step: how far the UNet's prediction on noised latents is from its target."""

    def __init__(self, pipe: Any, images: Sequence[Captioned], settings: LoraSettings) -> None:
        if not hasattr(pipe, "unet"):
            raise InputError(
                f"expected a model with a UNet to train a LoRA for, got {type(pipe).__name__}; take"
                " Stable Diffusion 1, 2 or XL"
            )
        self.pipe = pipe
        self.settings = settings
        self.captions = [one.caption for one in images]
        # The scheduler of the pipeline may be one for sampling alone; this is its noise.
        self.scheduler: Any = DDPMScheduler.from_config(pipe.scheduler.config)
        kind = pipe.scheduler.config.get("prediction_type")
        if kind not in TARGETS or pipe.unet.config.in_channels != pipe.vae.config.latent_channels:
            raise InputError(
                f"expected a text-to-image model that predicts {', '.join(TARGETS)}, got one that "
                f"predicts {kind} from {pipe.unet.config.in_channels} channels"
            )
        self.target = TARGETS[kind]
        self.latents = encode_images(pipe, images, (settings.height, settings.width))

    def __call__(self, step: int) -> Float[Tensor, ""]:
        batch_size, device = self.settings.batch_size, self.pipe.unet.device
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        chosen = torch.randint(len(self.captions), (batch_size,), generator=generator)
        dropped = torch.rand(batch_size, generator=generator) < CAPTION_DROPOUT
        clean = self.latents[chosen]
        noise = torch.randn(clean.shape, generator=generator)
        num_timesteps = int(self.scheduler.config["num_train_timesteps"])
        timesteps = torch.randint(num_timesteps, (batch_size,), generator=generator)
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        target = self.target(self.scheduler, clean, noise, timesteps)
        texts = [
            "" if drop else self.captions[index]
            for index, drop in zip(chosen.tolist(), dropped.tolist(), strict=True)
        ]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            conditioning = _conditioning(self.pipe, texts, self.settings)
            output = self.pipe.unet(noisy.to(device), timesteps.to(device), **conditioning)
        return functional.mse_loss(output.sample.float(), target.to(device))


def _velocity(
    scheduler: DDPMScheduler,
    clean: Float[Tensor, "n c h w"],
    noise: Float[Tensor, "n c h w"],
    timesteps: Int[Tensor, " n"],
) -> Tensor:
    return scheduler.get_velocity(clean, noise, timesteps)  # type: ignore[arg-type]


TARGETS: dict[str, Callable[..., Tensor]] = {
    "epsilon": lambda scheduler, clean, noise, timesteps: noise,
    "v_prediction": _velocity,
    "sample": lambda scheduler, clean, noise, timesteps: clean,
}


@torch.no_grad()
def encode_images(
    pipe: Any, images: Sequence[Captioned], size_hw: tuple[int, int]
) -> Float[Tensor, "n c h_latent w_latent"]:
    """Read images, scale and crop them to one size, and return the modes of their latents.

    They are on the CPU, scaled as the UNet takes them. Raises InputError for a damaged image.
    """
    latents = []
    with in_single_precision(pipe.vae):  # once for all of them
        for one in images:
            picture = PillowImage.fromarray(read_image(one.path))
            cropped = pipe.image_processor.resize(picture, *size_hw, resize_mode="crop")
            latents.append(encode(pipe, np.array(cropped)[None]).cpu())
    return torch.cat(latents)


def _conditioning(pipe: Any, texts: list[str], settings: LoraSettings) -> dict[str, Any]:
    """Return what the UNet gets besides noise and time, as the pipeline would give it."""
    inputs = conditions(pipe, texts, (settings.height, settings.width))
    if pipe.config.get("force_zeros_for_empty_prompt"):  # Stable Diffusion XL
        is_text = torch.tensor([bool(text) for text in texts], device=pipe.device)
        inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"] * is_text[:, None, None]
        added = inputs["added_cond_kwargs"]
        added["text_embeds"] = added["text_embeds"] * is_text[:, None]
    return inputs


def _identity(images: Sequence[Captioned]) -> dict[str, Any]:
    """Name what a LoRA depends on beside its settings and the model."""
    shown = ([one.name, one.caption, one.path.stat().st_size] for one in images)
    return {"images": digest(map(json.dumps, shown))}
