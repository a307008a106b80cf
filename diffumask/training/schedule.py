"""Length and pace of a training."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and pace of a training; the last `decay_share` of the steps lower the rate to 0.

    With `patience`, as many means of `log_every` losses, a training ends sooner: once all of them
    are within `least_gain` of the lowest before, its end moves so that the rate falls from there.
    A mean of `diverged_ratio` times the lowest before ends it with an error. AdamW takes the steps,
    with `muon` that for what multiplies, see `Muon`: dearer, and of a longer training more than
    worth it.
    """

    num_steps: int
    learning_rate: float
    warmup_steps: int = 200
    decay_share: float = 0.35
    ema_decay: float = 0.999
    weight_decay: float = 1e-3
    max_grad_norm: float = 1.0
    log_every: int = 50  # also how often the loss is seen to be finite
    checkpoint_every: int = 1000
    accumulation_steps: int = 1  # losses whose mean is the loss of a step
    patience: int | None = None
    least_gain: float = 0.05
    diverged_ratio: float | None = None
    muon: bool = False

    @property
    def looks_back(self) -> bool:
        """Whether what comes depends on the losses, so that all processes have to agree on them."""
        return self.patience is not None or self.diverged_ratio is not None

    def rate_factor(self, step: int) -> float:
        """Return the share of the learning rate at a step: warm-up, plateau, linear decay."""
        left = (self.num_steps - step) / (self.decay_share * self.num_steps)
        return max(min((step + 1) / self.warmup_steps, 1.0, left), 1e-3)
