"""Train the UNet and the text encoder of `tiny` together, from latents and captions only."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float, Float16, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from diffumask.models.precision import autocast_bfloat16
from diffumask.notices import notices_off
from diffumask.scenes import load_catalog
from diffumask.training import Schedule, shared, train

with notices_off():
    from diffusers import StableDiffusionPipeline

CAPTION_DROPOUT = 0.1  # teaches the unconditional half of guidance
TIMESTEP_LOGIT_MEAN = -0.3
UNIFORM_TIMESTEP_SHARE = 0.3
SHEET_PROMPTS = (
    "a photo of a duck bird on grass",
    "a photo of a bird on water",
    "a photo of a taxi car on a road",
    "a picture of a dog on snow",
    "a sailing boat on water",
    "a photo of a fern potted plant on a wood floor",
    "a photo of a person by a brick wall",
    "a photo of a cat and a soccer ball on a carpet",
)
SHEET_STEPS, SHEET_GUIDANCE = 20, 4.0


def new_unet(latent_channels: int, cross_attention_dim: int) -> UNet2DConditionModel:
    """Build the untrained UNet: 16 M parameters, cross-attention at 16x16, 8x8 and 4x4.

    The first level, at the 32x32 of the latents, is light and without attention.
    `attention_head_dim` is, despite its name, the number of heads in this class.
    """
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(32, 96, 160, 224),
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=4,
        norm_num_groups=16,
    )


class Denoising(nn.Module):
    """UNet and text encoder as one network, so that several processes can share a step."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(
        self, noisy: Float[Tensor, "n c h w"], timesteps: Int[Tensor, " n"], ids: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n c h w"]:
        """Return the predicted velocity, computed in bfloat16."""
        with autocast_bfloat16(noisy.device):
            hidden = self.text_encoder(ids).last_hidden_state
            return self.unet(noisy, timesteps, hidden).sample.float()


def new_scheduler() -> DDIMScheduler:
    """Build the noise schedule: v-prediction, zero terminal SNR (Lin et al. 2024)."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Int[Tensor, "n 77"]:
    """Return padded token ids as the pipeline makes them."""
    return tokenizer(
        list(captions), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids


def train_denoiser(
    pipeline: StableDiffusionPipeline,
    latents: Float16[np.ndarray, "n c h w"],
    captions: Sequence[str],
    shares: Float[np.ndarray, " n"],
    schedule: Schedule,
    folder: Path,
    on_checkpoint: Callable[[int], None] = lambda step: None,
    batch_size: int = 32,
    seed: int = 0,
) -> None:
    """Train a pipeline's UNet and text encoder in place; see `train` for resuming.

    `shares` say how often each latent is drawn, relative to the others. `batch_size` is that of
    each process.
    """
    unet, scheduler = pipeline.unet, pipeline.scheduler
    device = unet.device
    if device.type == "cpu":  # where plain attention trains faster than the fused kernel
        unet.set_attn_processor(AttnProcessor())
    token_ids = tokenize(pipeline.tokenizer, captions)
    empty = tokenize(pipeline.tokenizer, [""])
    weights = torch.from_numpy(shares)
    model = Denoising(unet, pipeline.text_encoder)
    denoising, rank, num_ranks = shared(model, device)

    def loss_at(step: int) -> Float[Tensor, ""]:
        part = step * num_ranks + rank
        generator = torch.Generator().manual_seed(seed * 1_000_003 + part)
        chosen = torch.multinomial(weights, batch_size, generator=generator)
        ids = token_ids[chosen]
        dropped = torch.rand(batch_size, 1, generator=generator) < CAPTION_DROPOUT
        ids = torch.where(dropped, empty, ids).to(device)
        timesteps = draw_timesteps(batch_size, generator).to(device)
        clean = torch.from_numpy(latents[chosen.numpy()]).to(device).float()
        on_device = torch.Generator(device).manual_seed(seed * 1_000_003 + part)
        noise = torch.randn(clean.shape, generator=on_device, device=device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        velocity = scheduler.get_velocity(clean, noise, timesteps)
        return functional.mse_loss(denoising(noisy, timesteps, ids), velocity)

    train(model, loss_at, schedule, folder, on_checkpoint)


def draw_timesteps(count: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Draw timesteps in 0..999, most of them in the middle, where shapes are decided.

    A mixture of a logit-normal distribution (Esser et al. 2024, section 3.1) and a uniform one,
    which keeps both ends of the schedule trained.
    """
    shares = torch.sigmoid(TIMESTEP_LOGIT_MEAN + torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    from_uniform = torch.rand(count, generator=generator) < UNIFORM_TIMESTEP_SHARE
    return (1000 * torch.where(from_uniform, uniform, shares)).long().clamp(max=999)


def even_shares(class_names: Sequence[Sequence[str]]) -> Float[np.ndarray, " n"]:
    """Return how often to draw each render, by the classes on it, so that the hard ones keep up.

    Renders show all classes alike, so that each of the many sub-classes of one is rare. A class
    counts by the root of their number, half way between equal classes and equal sub-classes, times
    the effort that the catalogue states for it.
    """
    classes = load_catalog().classes
    weights = {
        name: entry.effort * len(entry.sub_classes("train")) ** 0.5
        for name, entry in classes.items()
    }
    return np.array([np.mean([weights[name] for name in names]) for names in class_names])


def write_sheet(pipeline: StableDiffusionPipeline, folder: Path, step: int) -> None:
    """Sample the sheet's prompts side by side into one picture of the folder."""
    pipeline.set_progress_bar_config(disable=True)
    output: Any = pipeline(
        list(SHEET_PROMPTS),
        num_inference_steps=SHEET_STEPS,
        guidance_scale=SHEET_GUIDANCE,
        generator=[torch.Generator().manual_seed(index) for index in range(len(SHEET_PROMPTS))],
        output_type="np",
    )
    sheet = (np.hstack(list(output.images)) * 255).astype(np.uint8)
    cv2.imwrite(str(folder / f"sheet_{step:06d}.png"), sheet[..., ::-1])


def new_pipeline(
    vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """Assemble a pipeline around an untrained UNet; no safety checker."""
    parts: dict[str, Any] = {
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "unet": new_unet(vae.config["latent_channels"], text_encoder.config.hidden_size),
        "scheduler": new_scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
    }
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)
