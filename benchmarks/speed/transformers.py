"""The transformers of `diffumask models`, by their published configurations, without memory.

Where nothing is said, a network has the default configuration of its class in diffusers, which is
that of the published model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Gemma2Config,
    Gemma2Model,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from .architectures import real_vae

PATCH_PX = 16
CHAT_TOKENS = 128  # of a prompt where padding is left out


def _clip(width: int, layers: int, heads: int) -> CLIPTextModel:
    sizes: dict[str, Any] = {"hidden_size": width, "intermediate_size": 4 * width}
    config = CLIPTextConfig(num_hidden_layers=layers, num_attention_heads=heads, **sizes)
    return CLIPTextModel(config)


def _t5() -> T5EncoderModel:
    config = T5Config(
        d_model=4096,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def _chat(config: type, model: type, **sizes: Any) -> Any:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    named = dict(zip(names, sizes.pop("sizes"), strict=True))
    return model(config(**named, **sizes))


TEXTS: Mapping[str, Callable[[], Any]] = {
    "clip-l": lambda: _clip(768, 12, 12),
    "clip-g": lambda: _clip(1280, 32, 20),
    "t5-xxl": _t5,
    "gemma-2-2b": lambda: _chat(
        Gemma2Config, Gemma2Model, sizes=(2304, 9216, 26, 8), num_key_value_heads=4, head_dim=256
    ),
    "qwen-3-4b": lambda: _chat(
        Qwen3Config,
        Qwen3Model,
        sizes=(2560, 9728, 36, 32),
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
    ),
    "qwen-2.5-vl-7b": lambda: _chat(
        Qwen2Config,
        Qwen2Model,
        sizes=(3584, 18944, 28, 28),
        num_key_value_heads=4,
        vocab_size=152064,
    ),
    "mistral-small-3": lambda: _chat(
        MistralConfig,
        MistralModel,
        sizes=(5120, 32768, 40, 32),
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=131072,
    ),
}


@dataclass(frozen=True, slots=True)
class Published:
    """A model: its network and text encoders, and what a step gives the network."""

    network: str
    texts: tuple[str, ...]
    inputs: Callable[[int], Mapping[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    size_px: int = 1024
    latent_channels: int = 16


def _sd3(side: int) -> dict[str, Any]:
    return {
        "hidden_states": torch.empty(1, 16, 2 * side, 2 * side),
        "encoder_hidden_states": torch.empty(1, 77 + 256, 4096),
        "pooled_projections": torch.empty(1, 2048),
        "timestep": torch.empty(1),
    }


def _flux(side: int, text: int = 4096, channels: int = 64, axes: int = 3) -> dict[str, Any]:
    ids = (side * side, axes), (512, axes)
    return {
        "hidden_states": torch.empty(1, side * side, channels),
        "encoder_hidden_states": torch.empty(1, 512, text),
        "timestep": torch.empty(1),
        "img_ids": torch.empty(ids[0]),
        "txt_ids": torch.empty(ids[1]),
    }


def _pooled_flux(side: int) -> dict[str, Any]:
    return _flux(side) | {"pooled_projections": torch.empty(1, 768)}


def _guided(inputs: Callable[[int], dict[str, Any]]) -> Callable[[int], dict[str, Any]]:
    return lambda side: inputs(side) | {"guidance": torch.empty(1)}


def _qwen(side: int) -> dict[str, Any]:
    return {
        "hidden_states": torch.empty(1, side * side, 64),
        "encoder_hidden_states": torch.empty(1, CHAT_TOKENS, 3584),
        "timestep": torch.empty(1),
        "img_shapes": [[(1, side, side)]],
    }


def _cross(channels: int, tokens: int, width: int, px: int) -> Callable[[int], dict[str, Any]]:
    def inputs(side: int) -> dict[str, Any]:
        cells = side * PATCH_PX // px
        return {
            "hidden_states": torch.empty(1, channels, cells, cells),
            "encoder_hidden_states": torch.empty(1, tokens, width),
            "timestep": torch.empty(1),
        }

    return inputs


def _pixart(side: int) -> dict[str, Any]:
    conditions = {"resolution": None, "aspect_ratio": None}
    return _cross(4, 300, 4096, 8)(side) | {"added_cond_kwargs": conditions}


SD3 = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
LARGE = {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432}
SD3_TEXTS = ("clip-l", "clip-g", "t5-xxl")
MEDIUM = {"dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"}
KLEIN = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
PIXART = {
    "sample_size": 128,
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "cross_attention_dim": 1152,
    "caption_channels": 4096,
    "use_additional_conditions": False,
}

PUBLISHED: Mapping[str, Published] = {
    "sd3": Published("SD3Transformer2DModel", SD3_TEXTS, _sd3, SD3),
    "sd35": Published("SD3Transformer2DModel", SD3_TEXTS, _sd3, SD3 | MEDIUM),
    "sd35-large": Published(
        "SD3Transformer2DModel", SD3_TEXTS, _sd3, SD3 | LARGE | {"qk_norm": "rms_norm"}
    ),
    "flux": Published(
        "FluxTransformer2DModel",
        ("clip-l", "t5-xxl"),
        _guided(_pooled_flux),
        {"guidance_embeds": True},
    ),
    "schnell": Published("FluxTransformer2DModel", ("clip-l", "t5-xxl"), _pooled_flux),
    "chroma": Published("ChromaTransformer2DModel", ("t5-xxl",), _flux),
    "pixart": Published(
        "PixArtTransformer2DModel", ("t5-xxl",), _pixart, PIXART, latent_channels=4
    ),
    "sana": Published(
        "SanaTransformer2DModel", ("gemma-2-2b",), _cross(32, 300, 2304, 32), latent_channels=32
    ),
    "flux2": Published(
        "Flux2Transformer2DModel",
        ("mistral-small-3",),
        _guided(lambda side: _flux(side, 15360, 128, 4)),
        latent_channels=32,
    ),
    "flux2-klein": Published(
        "Flux2Transformer2DModel",
        ("qwen-3-4b",),
        lambda side: _flux(side, 7680, 128, 4),
        KLEIN,
        latent_channels=32,
    ),
    "qwen-image": Published(
        "QwenImageTransformer2DModel", ("qwen-2.5-vl-7b",), _qwen, size_px=1328
    ),
}


def network_of(published: Published) -> Any:
    """Build the network that denoises, on the default device."""
    return getattr(diffusers, published.network)(**published.config)


def decoding(published: Published) -> tuple[Any, torch.Tensor]:
    """Build the autoencoder and the latents that it decodes, on the default device."""
    cells = published.size_px // 8
    if published.network.startswith("QwenImage"):
        return diffusers.AutoencoderKLQwenImage(), torch.empty(1, 16, 1, cells, cells)
    if published.network.startswith("Flux2"):
        return diffusers.AutoencoderKLFlux2(), torch.empty(1, 32, cells, cells)
    if published.network.startswith("Sana"):
        return diffusers.AutoencoderDC(), torch.empty(1, 32, cells // 4, cells // 4)
    channels = published.latent_channels
    return real_vae(latent_channels=channels), torch.empty(1, channels, cells, cells)
