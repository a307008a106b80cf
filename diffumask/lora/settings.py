"""How a LoRA is trained, told without torch."""

from dataclasses import dataclass

from diffumask.errors import InputError
from diffumask.training.schedule import Schedule

MAX_WARMUP_STEPS = 100
SIZE_STEP = 8


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """How to train; sizes in pixels, divisible by 8. The same settings and images give the same."""

    height: int
    width: int
    rank: int = 16
    text_encoder: bool = False
    num_steps: int = 1000
    batch_size: int = 4
    learning_rate: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "num_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"expected a learning_rate in (0, 1), got {self.learning_rate}")
        for name in ("height", "width"):
            size = getattr(self, name)
            if size < SIZE_STEP or size % SIZE_STEP:
                raise InputError(f"expected a {name} divisible by {SIZE_STEP}, got {size}")

    def schedule(self) -> Schedule:
        """The pace: warm-up, plateau, linear decay."""
        return Schedule(
            self.num_steps,
            self.learning_rate,
            warmup_steps=max(1, min(MAX_WARMUP_STEPS, self.num_steps // 20)),
            ema_decay=0.99,
            log_every=10,
            checkpoint_every=100,
        )
