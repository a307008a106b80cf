"""Which steps of a trajectory count, by the distinct timesteps of its scheduler."""

import math
from collections.abc import Sequence

from diffumask.errors import InputError

from .defaults import Steps

ROUNDING = 2**-7  # of timesteps that a pipeline rounds to bfloat16, scales and rounds again


def check_steps(steps: Steps) -> None:
    """Raise `InputError` for a share that is none."""
    if not callable(steps) and not 0 <= steps[0] < steps[1] <= 1:
        raise InputError(
            f"expected a share (start, stop) of the steps with 0 <= start < stop <= 1, got {steps}"
        )


def are_chosen(steps: Steps, timesteps: Sequence[float]) -> list[bool]:
    """Tell of each timestep of a trajectory whether it counts.

    Schedulers of second order repeat a timestep, or go through one in between: equal ones are
    one step, others are steps of their own. A step is in a share if its middle is. Raises
    `InputError` if no step counts.
    """
    distinct = list(dict.fromkeys(timesteps))
    n = len(distinct)

    def counts(i: int) -> bool:
        return steps(i, n) if callable(steps) else steps[0] <= (i + 0.5) / n < steps[1]

    chosen = {timestep for i, timestep in enumerate(distinct) if counts(i)}
    if not chosen:
        raise InputError(f"expected steps={steps} to keep a step, got none of {n}; keep more")
    return [timestep in chosen for timestep in timesteps]


def check_strides(strides: tuple[int, int]) -> None:
    """Raise `InputError` for strides that see nothing."""
    if min(strides) < 1:
        raise InputError(f"expected matrix_strides (steps, layers) from 1 on, got {strides}")


def evenly_spaced(n: int, stride: int) -> list[int]:
    """Return one of every `stride` of 0 .. n - 1, in the middle of its like; of any n one."""
    kept = math.ceil(n / stride)
    return [(2 * i + 1) * n // (2 * kept) for i in range(kept)]


def check_trajectory(seen: Sequence[float], timesteps: Sequence[float]) -> None:
    """Raise `InputError` unless the network saw timesteps of a scheduler in order, each once.

    Some may be left out, as before the strength of an image or after an end. A second look at one
    timestep is a guidance, or another view of the image, of its own.
    """
    rest = iter(timesteps)
    for i, timestep in enumerate(seen):
        if not any(abs(timestep - one) <= ROUNDING * abs(one) for one in rest):
            raise InputError(
                f"expected one evaluation for each step of the scheduler, got timestep"
                f" {timestep:g} as evaluation {i + 1} besides; several passes or views per step"
                " cannot be captured"
            )
