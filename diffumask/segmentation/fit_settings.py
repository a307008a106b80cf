"""How a segmentation network is trained."""

from dataclasses import dataclass

from diffumask.dataset.pair import SizeHW
from diffumask.errors import InputError

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to train.

    A step sees `batch_size` x `gradient_accumulation_steps` images on each device. Images are
    resized so that their shorter side is that of `size_hw` (None: the size of the first image)
    times a number from `scale`, drawn evenly in its logarithm, and cropped at random, or filled
    up with 255, to `size_hw`. `precision` "auto" is bfloat16 where the device is fast in
    it; where it lacks the kernels all is computed in float32.
    `num_workers` threads prepare the batches to come. With `until_plateau` `num_steps` is the most:
    a training is cut short once its loss, or the mIoU of its validation, gets no better.
    """

    num_steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    gradient_accumulation_steps: int = 1
    precision: str = "auto"
    size_hw: SizeHW | None = None
    flip: bool = True
    scale: tuple[float, float] = (0.75, 1.33)
    seed: int = 0
    checkpoint_every: int = 500
    num_workers: int = 0
    until_plateau: bool = False

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "gradient_accumulation_steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"expected a learning rate above 0, got {self.learning_rate}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"expected a scale of two rising numbers above 0, got {self.scale}")
        if self.precision not in PRECISIONS:
            raise InputError(f"expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.size_hw and min(self.size_hw) < 32:
            raise InputError(f"expected a size of 32x32 pixels or more, got {self.size_hw}")
        for name in ("num_workers", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"expected {name} of 0 or more, got {getattr(self, name)}")
