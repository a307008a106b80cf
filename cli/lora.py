"""`diffumask lora train`, and the LoRA of `diffumask generate`."""

import math
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

from .progress import step_progress
from .result import Result

if TYPE_CHECKING:  # torch takes seconds to import
    from contextlib import AbstractContextManager

    from diffusers import DiffusionPipeline

    from diffumask.lora.training import LoraSettings
    from diffumask.models import ModelSpec

SUFFIX = ".safetensors"
SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; a `resolution` of None stands for that of the model."""

    images: Path
    out: Path
    captions: Path | None = None
    model: str = "tiny"
    rank: int = 16
    text_encoder: bool = False
    steps: int = 1000
    batch_size: int = 4
    learning_rate: float = 1e-4
    resolution: str | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.out.suffix != SUFFIX:
            raise InputError(f"expected -o FILE{SUFFIX}, got {self.out}")
        if self.resolution is not None and not SIZE.fullmatch(self.resolution):
            raise InputError(
                f"expected --resolution such as 512 or 384x512, got {self.resolution!r}"
            )

    @property
    def state(self) -> Path:
        """The folder of what a training needs to go on."""
        return self.out.with_suffix(".training")


def run(request: Request) -> Result:
    """Train a LoRA and write it, and return a line that says where.

    The same call goes on where an earlier one stopped. Raises InputError for what the user can
    mend, before the training where that can be known.
    """
    from diffumask.lora.captioned import read_captioned

    images = read_captioned(request.images, request.captions)

    from diffumask.lora.layers import require_peft
    from diffumask.lora.training import train_lora
    from diffumask.models import fingerprint, load, resolve

    require_peft()
    spec = resolve(request.model)
    settings = _settings(request, spec)
    identity = {"model": spec.name, "checkpoint": fingerprint(spec)}
    pipe = load(spec, request.device, "float32")
    with step_progress(settings.num_steps) as on_step:
        train_lora(pipe, images, settings, request.out, request.state, identity, on_step)
    text = (
        f"trained on {len(images)} images; the LoRA is in {request.out}, for generate --lora "
        f"{request.out}; {request.state} holds its log, and may go"
    )
    facts = {"file": request.out, "images": len(images), "steps": settings.num_steps}
    return Result(text, facts)


def applied(
    pipe: "DiffusionPipeline", lora: Path | None, scale: float
) -> "AbstractContextManager[None]":
    """Let the pipeline draw with a LoRA, if there is one, until the context ends."""
    if lora is None:
        return nullcontext()
    from diffumask.lora.apply import lora_applied
    from diffumask.lora.file import read_lora

    return lora_applied(pipe, read_lora(lora), scale)


def identity(lora: Path | None, scale: float) -> dict[str, Any]:
    """What an item depends on. Raises InputError for a file that is no LoRA, and a bad scale."""
    if not math.isfinite(scale):
        raise InputError(f"expected a finite --lora-scale, got {scale}")
    if lora is None:
        return {}
    from diffumask.lora.file import read_lora

    return {"lora": read_lora(lora).fingerprint, "lora_scale": scale}


def _settings(request: Request, spec: "ModelSpec") -> "LoraSettings":
    from diffumask.lora.training import LoraSettings

    found = SIZE.fullmatch(request.resolution or f"{spec.height}x{spec.width}")
    assert found  # as the request has checked
    height, width = found[1], found[2] or found[1]
    return LoraSettings(
        int(height),
        int(width),
        request.rank,
        request.text_encoder,
        request.steps,
        request.batch_size,
        request.learning_rate,
        request.seed,
    )
