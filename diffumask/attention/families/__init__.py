"""The kinds of denoising networks that are read, a file for each family.

Found by the name of the class in diffusers, so that only the family in use is imported: that of
the pipeline first, where it puts other text before a known network.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from diffumask.errors import InputError

from ..network import Network

NETWORKS: Mapping[str, tuple[str, str]] = {
    "KolorsPipeline": ("kolors", "KolorsAttention"),
    "KolorsImg2ImgPipeline": ("kolors", "KolorsAttention"),
    "UNet2DConditionModel": ("unet", "UNetAttention"),
    "SD3Transformer2DModel": ("sd3", "SD3Attention"),
    "FluxTransformer2DModel": ("flux", "FluxAttention"),
    "Flux2Transformer2DModel": ("flux2", "Flux2Attention"),
    "ChromaTransformer2DModel": ("chroma", "ChromaAttention"),
    "PixArtTransformer2DModel": ("pixart", "PixArtAttention"),
    "SanaTransformer2DModel": ("sana", "SanaAttention"),
    "OvisImageTransformer2DModel": ("ovis_image", "OvisImageAttention"),
    "QwenImageTransformer2DModel": ("qwen_image", "QwenImageAttention"),
    "ZImageTransformer2DModel": ("z_image", "ZImageAttention"),
}


def network_of(module: Any, pipe: Any) -> Network:
    """Return how a denoising network is read. Raises `InputError` for one of no known family."""
    plain = getattr(module, "_orig_mod", module)  # inside what torch.compile returned
    for kind in (*type(pipe).__mro__, *type(plain).__mro__):
        if kind.__name__ in NETWORKS and kind.__module__.startswith("diffusers."):
            file, name = NETWORKS[kind.__name__]
            return getattr(import_module(f".{file}", __name__), name)(pipe, plain)
    raise InputError(
        f"expected one of {', '.join(NETWORKS)}, got {type(plain).__name__}, which cannot be"
        " captured; use a model with one of these"
    )
