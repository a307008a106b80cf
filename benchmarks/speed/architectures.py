"""Pipelines of the real architectures with random weights, for measurements without a download.

The networks that denoise are the real ones; text encoders have one layer of the right width and
the VAE is small, as only the denoising is timed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from string import printable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffumask.models import load, resolve
from diffumask.notices import notices_off

with notices_off():
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

PROMPT, WORDS = "a photo of a bird and a potted plant", ("bird", "potted plant")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of pipeline, and the size of its images in pixels."""

    name: str
    size_px: int
    build: Callable[[], Any]


def _tokenizer() -> CLIPTokenizer:
    tokenizer = CLIPTokenizer().train_new_from_iterator(
        [PROMPT, " ".join(printable)], 600, initial_alphabet=ByteLevel.alphabet()
    )
    with TemporaryDirectory() as folder:
        tokenizer.backend_tokenizer.model.save(folder)  # vocab.json and merges.txt
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def _text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    config: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": width,
        "projection_dim": width,
        "num_hidden_layers": 2,
        "num_attention_heads": max(1, width // 64),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**config)


def _vae(widths: tuple[int, ...], **more: Any) -> AutoencoderKL:
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": widths,
        **more,
    }
    return AutoencoderKL(**config)


def real_vae(latent_channels: int = 4) -> AutoencoderKL:
    """Build the VAE of Stable Diffusion, with 16 channels that of 3 and of FLUX.1."""
    return _vae((128, 256, 512, 512), layers_per_block=2, latent_channels=latent_channels)


def _small_vae() -> AutoencoderKL:
    return _vae((4, 4, 8, 8), norm_num_groups=4)


def _stable_diffusion(**unet: Any) -> StableDiffusionPipeline:
    tokenizer = _tokenizer()
    parts: dict[str, Any] = {
        "vae": _small_vae(),
        "text_encoder": CLIPTextModel(_text_config(tokenizer, unet["cross_attention_dim"])),
        "tokenizer": tokenizer,
        "unet": UNet2DConditionModel(**unet),
        "scheduler": DDIMScheduler(clip_sample=False, steps_offset=1),
        "safety_checker": None,
        "feature_extractor": None,
    }
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def _small() -> StableDiffusionPipeline:
    return _stable_diffusion(
        sample_size=16,
        cross_attention_dim=32,
        attention_head_dim=2,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
    )


def _sd15() -> StableDiffusionPipeline:
    # The defaults of the class are the network of Stable Diffusion 1 but for the width of the text.
    return _stable_diffusion(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def _sdxl() -> StableDiffusionXLPipeline:
    tokenizer = _tokenizer()
    config: dict[str, Any] = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    unet = UNet2DConditionModel(**config)
    parts: dict[str, Any] = {
        "vae": _small_vae(),
        "text_encoder": CLIPTextModel(_text_config(tokenizer, 768)),
        "text_encoder_2": CLIPTextModelWithProjection(_text_config(tokenizer, 1280)),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "unet": unet,
        "scheduler": DDIMScheduler(clip_sample=False, steps_offset=1),
    }
    return StableDiffusionXLPipeline(**parts)


def _tiny() -> Any:
    return load(resolve("tiny"), device="cpu", dtype="float32")


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("small", 64, _small),  # to try the script
        Architecture("tiny", 128, _tiny),
        Architecture("sd15", 512, _sd15),
        Architecture("sdxl", 1024, _sdxl),
    )
}


def build(name: str, device: str, dtype: torch.dtype) -> Any:
    """Build a pipeline with random weights, or load `tiny`, in its final place and precision."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    if name == "tiny":
        pipe = architecture.build().to(device, dtype)
    else:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                pipe = architecture.build()
        finally:
            torch.set_default_dtype(before)
        # its tables stay on the CPU and in single precision
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe
