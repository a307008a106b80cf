"""Diffusion pipelines and autoencoders from their checkpoints."""

import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
    PipelineQuantizationConfig,
)

from diffumask.errors import InputError, reason
from diffumask.heap import keep_heap
from diffumask.notices import notices_off

from .devices import find_device
from .families import UNET_CLASS, Family
from .files import check_whole
from .index import UNUSED_PARTS, read_index
from .loading import Loading
from .progress_bars import progress_bars_off
from .registry import model_folder
from .spec import ModelSpec
from .variants import check_variant, variant_in

AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


def load(
    spec: ModelSpec, device: str = "auto", dtype: str = "auto", loading: Loading | None = None
) -> DiffusionPipeline:
    """Load a model, without safety checker, without progress bars, from safetensors only.

    "auto" takes the first of cuda, mps and cpu that is there, and on cuda the half precision of
    the model's family, else float32. Raises `InputError` for files that are missing, damaged or of
    no known family, for an unreachable hub, and for a device, dtype or `loading` that cannot be
    had.
    """
    loading = loading or Loading()
    torch_device = find_device(device)
    loading.check_device(torch_device.type)
    if torch_device.type == "cpu":
        keep_heap()
    torch_dtype = loading.find_dtype(dtype, torch_device, spec.family.half)
    options: dict[str, Any] = {"dtype": torch_dtype, "use_safetensors": True}
    folder = model_folder(spec)
    index = read_index(folder)
    family = index.family
    loading.check_family(family)
    unused: dict[str, Any] = {part: None for part in UNUSED_PARTS if part in index.entries}
    unused |= dict.fromkeys(index.empty_parts)  # as T5 of Stable Diffusion 3 may be
    if "safety_checker" in unused:
        unused["requires_safety_checker"] = False

    check_whole(folder, spec.variant)
    quantized = loading.quantizations(index.entries, torch_dtype)
    of_network = {"quantization_config": quantized.pop(family.part, None)}
    of_network["variant"] = variant_in(folder / family.part, spec.variant)
    of_others: dict[str, Any] = {"variant": spec.variant}
    if quantized:
        of_others["quantization_config"] = PipelineQuantizationConfig(quant_mapping=quantized)
    try:
        with progress_bars_off(), notices_off(), warnings.catch_warnings():
            # of diffusers' Chroma, in diffusers' own words to diffusers
            warnings.filterwarnings("ignore", "`FluxPosEmbed` is deprecated", FutureWarning)
            network = _load_network(folder, family, options | of_network)
            parts = unused | {family.part: network}
            pipe = DiffusionPipeline.from_pretrained(folder, **parts, **options, **of_others)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(f"expected a whole model in {folder}, got: {reason(error)}") from error
    pipe.set_progress_bar_config(disable=True)
    loading.apply(pipe, torch_device)
    return pipe


def load_autoencoder(spec: ModelSpec, device: str = "auto") -> AutoencoderKL | AutoencoderTiny:
    """Load the VAE of a model alone, frozen, in float32.

    Raises `InputError` as `load` does, and for an autoencoder of another kind.
    """
    torch_device = find_device(device)
    folder = model_folder(spec)
    kind = read_index(folder).part_class("vae")
    if kind not in AUTOENCODERS:
        kinds = " or ".join(AUTOENCODERS)
        raise InputError(f"expected a model with an {kinds}, got {kind} in {folder}")
    check_variant(folder, [folder / "vae"], spec.variant)
    try:
        with progress_bars_off():
            loaded: Any = AUTOENCODERS[kind].from_pretrained(
                folder,
                subfolder="vae",
                dtype=torch.float32,
                use_safetensors=True,
                variant=spec.variant,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a whole VAE in {folder}, got: {reason(error)}") from error
    vae, info = loaded
    if info["missing_keys"]:  # diffusers fills them with noise
        missing = min(info["missing_keys"])
        raise InputError(f"expected all weights of the VAE in {folder}, got none for {missing}")
    return vae.requires_grad_(False).eval().to(torch_device)


def _load_network(folder: Path, family: Family, options: dict[str, Any]) -> Any:
    """Load the network that denoises. Raises `InputError` for one that lacks weights or a text."""
    kind = getattr(diffusers, family.network)
    network, info = kind.from_pretrained(
        folder, subfolder=family.part, output_loading_info=True, **options
    )
    modules = network.modules()
    is_unet = family.network == UNET_CLASS
    if is_unet and not any(getattr(one, "is_cross_attention", False) for one in modules):
        raise InputError(f"expected a UNet with cross-attention in {folder}, got one without")
    if info["missing_keys"]:  # diffusers fills them with noise
        name = "UNet" if is_unet else family.part
        raise InputError(
            f"expected all weights of the {name} in {folder}, got none for"
            f" {info['missing_keys'][0]}"
        )
    return network
