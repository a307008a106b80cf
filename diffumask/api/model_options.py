"""Which model draws, and how it samples: the options that `generate` and `calibrate` share."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.errors import InputError

from . import values
from .option import MACHINES, MODEL, Option, Options
from .progress import log

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.models import ModelSpec
    from diffumask.sampling.settings import SampleSettings

REMARKS = {"tiny": "built in, draws emoji scenes: for photographs use sd15"}
ModelName = Annotated[
    str,
    Option(
        "tiny, sd15, sdxl, sd35, flux, ... (diffumask models), a model folder or a hub id.",
        values=values.models,
        panel=MODEL,
    ),
]


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where a model runs, and in which number type."""

    PANEL = MACHINES

    device: Annotated[str, Option("auto, cpu, cuda, cuda:1, mps, ...", values=values.DEVICES)] = (
        "auto"
    )
    dtype: Annotated[str, Option("auto, float32, float16 or bfloat16.", values=values.DTYPES)] = (
        "auto"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype not in values.DTYPES:
            names = ", ".join(values.DTYPES[1:])
            raise InputError(f"expected auto or one of {names} as dtype, got {self.dtype!r}")

    def log_dtype(self, used: str) -> None:
        """Say that a device lacks the kernels for what was asked for, if it does."""
        if self.dtype not in ("auto", used):
            log.info("computing in %s, as this device has no kernels for %s", used, self.dtype)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Options):
    """How a model samples; what is left out is the model's own."""

    PANEL = MODEL

    num_inference_steps: Annotated[
        int | None, Option("Denoising steps.", default="the model's")
    ] = None
    guidance_scale: Annotated[
        float | None, Option("Guidance; 1 is off.", default="the model's")
    ] = None
    height: Annotated[int | None, Option("Pixels, divisible by 8.", default="the model's")] = None
    width: Annotated[int | None, Option("Pixels, divisible by 8.", default="the model's")] = None
    batch_size: Annotated[
        int | None,
        Option("Images at a time.", default="by model and free memory", least=1, panel=MACHINES),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        guidance = self.guidance_scale
        if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
            raise InputError(f"expected a guidance scale of 0 or more, got {guidance}")

    def sampling(self, spec: "ModelSpec", **more: Any) -> "SampleSettings":
        """Fill what was left out with `more`, which may be further settings, then the model's.

        A negative prompt, such as a vocabulary's, is left out for a model that takes none.
        """
        from diffumask.sampling.settings import SampleSettings

        names = ("num_inference_steps", "guidance_scale", "height", "width")
        of_model = {name: getattr(spec, name) for name in names}
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if not spec.family.takes_negative_prompt:
            more.pop("negative_prompt", None)
        settings = SampleSettings(**of_model | more | given)
        settings.check_sides(spec.family.size_step)
        return settings


def introduce(spec: "ModelSpec", sampling: "SampleSettings") -> None:
    """Log which model samples and how."""
    log.info(
        "model %s (%s): %dx%d px, %d steps, guidance %g",
        spec.name,
        REMARKS.get(spec.name, str(spec.source)),
        sampling.height,
        sampling.width,
        sampling.num_inference_steps,
        sampling.guidance_scale,
    )
