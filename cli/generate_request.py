"""The options of `diffumask generate`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffumask.dataset.shards import WHOLE, Shard
from diffumask.errors import InputError

from . import dry_run
from .mask_options import MaskOptions

RESUME = ("auto", "never")


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; None stands for the default of the model."""

    classes: Sequence[str]
    n: int
    out: Path | None = None
    model: str = "tiny"
    vocabulary: str | None = None
    prompts: Path | None = None
    objects: int = 1
    open_all: bool = False
    captions: Path | None = None
    caption_ranking: str = "text"
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    batch_size: int | None = None
    seed: int = 0
    masks: MaskOptions = field(default_factory=MaskOptions)
    keep_maps: bool = False
    shard: Shard = WHOLE
    resume: str = "auto"
    ray: str | None = None
    workers: int | None = None
    dry_run: bool = False
    gpu: str | None = None
    pace_s: float | None = None
    lora: Path | None = None
    lora_scale: float = 1.0
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"expected --n of 1 or more, got {self.n}")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"expected --batch-size of 1 or more, got {self.batch_size}")
        guidance = self.guidance_scale
        if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
            raise InputError(f"expected --guidance-scale of 0 or more, got {guidance}")
        dry_run.check_gpu(self.gpu, self.pace_s)
        if (self.gpu or self.pace_s) and not self.dry_run:
            raise InputError("expected --gpu and --pace with --dry-run, got them without")
        if self.workers is not None and (self.ray is None or self.workers < 1):
            raise InputError(f"expected --workers of 1 or more with --ray, got {self.workers}")
        if self.resume not in RESUME:
            raise InputError(f"expected --resume {' or '.join(RESUME)}, got {self.resume!r}")
