"""How much arithmetic and how many weights do models of photographs have?

Counted on networks without memory (torch's meta device) by torch.utils.flop_counter, for one
image of the model's size; a multiplication and an addition are two operations. `diffumask
generate --dry-run` estimates times from these (diffumask/generation/cost.py).
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.report import Report, table

from .architectures import ARCHITECTURES, real_vae
from .transformers import PATCH_PX, PUBLISHED, TEXTS, decoding, network_of

TOKENS = 77
TEXT = {  # of the text encoders: width, layers, heads, and whether it is one of OpenCLIP
    "sd15": [(768, 12, 12)],
    "sd21": [(1024, 23, 16)],
    "sdxl": [(768, 12, 12), (1280, 32, 20)],
}
SIZES_PX = {"sd15": 512, "sd21": 768, "sdxl": 1024}


def unet_of(name: str) -> UNet2DConditionModel:
    """Build the network that denoises, on the default device."""
    if name == "sd21":
        config: dict[str, Any] = {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        }
        return UNet2DConditionModel(**config)
    return ARCHITECTURES[name].build().unet


def counted(work: Callable[[], object]) -> float:
    """Count the operations of a call, in units of 10^12."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops() / 1e12


def parameters(module: torch.nn.Module) -> float:
    """Count weights, in units of 10^9."""
    return sum(one.numel() for one in module.parameters()) / 1e9


def in_matrices(network: torch.nn.Module) -> float:
    """Count the weights that are quantized, those of linear layers, in units of 10^9."""
    linear = [one for one in network.modules() if isinstance(one, torch.nn.Linear)]
    return sum(one.weight.numel() for one in linear) / 1e9


def measure(name: str) -> tuple[object, ...]:
    """Count for one model, and write a row."""
    cells = SIZES_PX[name] // 8
    with torch.device("meta"):
        unet = unet_of(name)
        vae: Any = real_vae()
        texts = [
            CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=width,
                    intermediate_size=4 * width,
                    num_hidden_layers=layers,
                    num_attention_heads=heads,
                )
            )
            for width, layers, heads in TEXT[name]
        ]
        latents = torch.empty(1, 4, cells, cells)
        text = torch.empty(1, TOKENS, int(unet.config["cross_attention_dim"]))
        more: dict[str, Any] = {}
        if name == "sdxl":
            conditions = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
            more = {"added_cond_kwargs": conditions}
        step = counted(lambda: unet(latents, torch.ones(()), text, **more))
        decode = counted(lambda: vae.decode(latents))
    weights = parameters(unet) + parameters(vae) + sum(map(parameters, texts))
    told = f"{weights:.2f}", f"{in_matrices(unet):.2f}"
    return name, SIZES_PX[name], f"{step:.3f}", f"{decode:.2f}", *told


def measure_transformer(name: str) -> tuple[object, ...]:
    """Count for one model with a transformer, and write a row."""
    published = PUBLISHED[name]
    with torch.device("meta"):
        network = network_of(published).eval()
        texts = [TEXTS[one]() for one in published.texts]
        vae, latents = decoding(published)
        inputs = published.inputs(published.size_px // PATCH_PX)
        step = counted(lambda: network(**inputs))
        decode = counted(lambda: vae.decode(latents))
    large = [one for name, one in zip(published.texts, texts, strict=True) if "clip" not in name]
    weights = parameters(network) + parameters(vae) + sum(map(parameters, texts))
    quantized = in_matrices(network) + sum(map(in_matrices, large))
    return (
        name,
        published.size_px,
        f"{step:.3f}",
        f"{decode:.2f}",
        f"{weights:.2f}",
        f"{quantized:.2f}",
    )


def main() -> Report:
    """Count for all."""
    facts = [
        "Of one image; with guidance a step has twice the operations.",
        "Of text encoders that see pictures too, the part for pictures is left out.",
    ]
    head = (
        "model",
        "px",
        "a step, 10^12",
        "VAE decoder, 10^12",
        "weights, 10^9",
        "that can be quantized, 10^9",
    )
    title = "Arithmetic and weights of models of photographs"
    return Report(
        title, facts, table(head, [*map(measure, SIZES_PX), *map(measure_transformer, PUBLISHED)])
    )
