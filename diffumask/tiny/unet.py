"""The UNet of `tiny`, trained together with the text encoder."""

from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from diffumask.models.precision import autocast_bfloat16
from diffumask.notices import notices_off

from .denoiser import Kind, draw_noise_shares

with notices_off():
    from diffusers import StableDiffusionPipeline

# After 704 thousand images drawn with -0.3 and 0.3, renders noised to timestep 600 came out nearly
# as they were, to 750 as shapes that nobody recognises: what is decided there was still missing.
NOISE_LOGIT_MEAN = 0.6
UNIFORM_SHARE = 0.25


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
    """UNet and text encoder of a pipeline as one network that returns its loss."""

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        super().__init__()
        self.unet = pipeline.unet
        self.text_encoder = pipeline.text_encoder
        self.scheduler = pipeline.scheduler
        if self.unet.device.type == "cpu":  # where plain attention trains faster than the fused one
            self.unet.set_attn_processor(AttnProcessor())

    def forward(
        self,
        clean: Float[Tensor, "n c h w"],
        noise: Float[Tensor, "n c h w"],
        timesteps: Int[Tensor, " n"],
        ids: Int[Tensor, "n t"],
    ) -> Float[Tensor, ""]:
        """Return the squared error of the velocity, predicted in bfloat16."""
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        velocity = self.scheduler.get_velocity(clean, noise, timesteps)
        with autocast_bfloat16(noisy.device):
            hidden = self.text_encoder(ids).last_hidden_state
            predicted = self.unet(noisy, timesteps, hidden).sample.float()
        return functional.mse_loss(predicted, velocity)


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


def draw_timesteps(count: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Draw timesteps in 0..999, see `draw_noise_shares`."""
    shares = draw_noise_shares(count, generator, NOISE_LOGIT_MEAN, UNIFORM_SHARE)
    return (1000 * shares).long().clamp(max=999)


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


UNET = Kind(Denoising, draw_timesteps, {})
