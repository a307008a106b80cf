"""How far a training has come: its losses, and the end that they may bring nearer."""

import math
from dataclasses import dataclass, field

from torch import Tensor

from .distributed import mean_of_processes


@dataclass(slots=True)
class Course:
    """`means` are of the losses that a line of the log tells of each, `losses` those since.

    It ends after `longest` steps, or with `ends_at` before.
    """

    longest: int
    ends_at: int | None = None
    means: list[float] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        """How many steps there are in all, as far as is known."""
        return self.longest if self.ends_at is None else min(self.ends_at, self.longest)

    def add_mean(self, mean: float, of_all: bool) -> None:
        """Put the mean of the losses so far in place of them; `of_all` processes, which all ask."""
        device = self.losses[-1].device
        self.means.append(mean_of_processes(mean, device) if of_all else mean)
        self.losses = []

    def has_plateau(self, patience: int, least_gain: float) -> bool:
        """Whether none of the last means, `patience` many, is lower than all before by a share."""
        before, last = self.means[:-patience], self.means[-patience:]
        return bool(before) and min(last) > (1 - least_gain) * min(before)

    def cool_down(self, step: int, decay_share: float) -> None:
        """Begin to lower the rate at a step; the share of all steps that do so stays the same."""
        self.ends_at = min(self.num_steps, max(step + 1, math.ceil(step / (1 - decay_share))))
