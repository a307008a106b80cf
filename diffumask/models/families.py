"""Which kinds of pipelines can draw, and what is usual for each, told without torch.

A model folder says its pipeline's class in its index. What is not said here of the models
themselves, sizes above all, their files say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffumask.errors import InputError

UNET_CLASS = "UNet2DConditionModel"


@dataclass(frozen=True, slots=True)
class Family:
    """What models of one pipeline have in common; sizes in pixels.

    `network` is the class of the network that denoises, in the folder `part`. `side_px` is the
    size that they were made for where no file tells it, `size_step` what sides are multiples of.
    `half` is the number type for a GPU. `distilled` are the steps and the guidance of those whose
    configuration says that they are distilled. `guidance_doubles` is false where guidance is an
    input of the network, and takes no evaluation of its own.
    """

    network: str
    part: str = "transformer"
    num_inference_steps: int = 30
    guidance_scale: float = 5.0
    side_px: int = 1024
    size_step: int = 16
    half: str = "bfloat16"
    takes_negative_prompt: bool = True
    guidance_doubles: bool = True
    distilled: tuple[int, float] | None = None


UNET = Family(UNET_CLASS, "unet", 30, 7.5, size_step=8, half="float16")
# A latent consistency model: guidance was distilled into an input of the network (Luo et al. 2023).
LCM = replace(
    UNET,
    num_inference_steps=4,
    guidance_scale=8.0,
    takes_negative_prompt=False,
    guidance_doubles=False,
)

PIXART = Family("PixArtTransformer2DModel", "transformer", 20, 4.5, half="float16")

FAMILIES: Mapping[str, Family] = {
    "StableDiffusion3Pipeline": Family("SD3Transformer2DModel", "transformer", 28, 4.5),
    "FluxPipeline": Family(
        "FluxTransformer2DModel",
        "transformer",
        28,
        3.5,
        takes_negative_prompt=False,
        guidance_doubles=False,
        distilled=(4, 0.0),
    ),
    "ChromaPipeline": Family("ChromaTransformer2DModel", "transformer", 40, 3.0),
    "PixArtAlphaPipeline": PIXART,
    "PixArtSigmaPipeline": PIXART,
    "SanaPipeline": Family("SanaTransformer2DModel", "transformer", 20, 4.5, size_step=32),
    "Flux2Pipeline": Family(
        "Flux2Transformer2DModel",
        "transformer",
        50,
        4.0,
        takes_negative_prompt=False,
        guidance_doubles=False,
    ),
    "Flux2KleinPipeline": Family(
        "Flux2Transformer2DModel",
        "transformer",
        50,
        4.0,
        takes_negative_prompt=False,
        distilled=(4, 1.0),
    ),
    "OvisImagePipeline": Family("OvisImageTransformer2DModel", "transformer", 50, 5.0),
    "QwenImagePipeline": Family("QwenImageTransformer2DModel", "transformer", 50, 4.0, 1328),
    "ZImagePipeline": Family("ZImageTransformer2DModel", "transformer", 9, 0.0),
}


def family_of(pipeline: str | None, network: str | None) -> Family | None:
    """Return the family of a pipeline with a network, by their classes; None for no known one."""
    if network == UNET_CLASS:
        return UNET
    family = FAMILIES.get(pipeline or "")
    return family if family is not None and family.network == network else None


def refuse_family(folder: Any, pipeline: Any, network: str | None) -> InputError:
    """Return the error for a model of no known family."""
    known = ", ".join(FAMILIES)
    return InputError(
        f"expected a model of Stable Diffusion 1, 2 or XL, or one for {known}, got {pipeline} with"
        f" {network or 'neither UNet nor transformer'} in {folder}; use another model"
    )


def with_guidance(family: Family, config: Mapping[str, Any]) -> Family:
    """Return the family of a UNet by its configuration: one that takes guidance is another."""
    is_lcm = family is UNET and config.get("time_cond_proj_dim") is not None
    return LCM if is_lcm else family


def pace(family: Family, config: Mapping[str, Any], index: Mapping[str, Any]) -> tuple[int, float]:
    """Return the usual steps and guidance, as the network's configuration and the index say."""
    is_distilled = index.get("is_distilled", config.get("guidance_embeds") is False)
    if family.distilled is not None and is_distilled:
        return family.distilled
    return family.num_inference_steps, family.guidance_scale
