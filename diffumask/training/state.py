"""Where a training stands, in one file of safetensors: weights, their averages, the optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffumask.errors import InputError, in_one_line
from diffumask.files.atomic import new_file

from .course import Course
from .muon import Muon

STATE_FILE = "state.safetensors"
ADAM_STATE, MUON_STATE = ("step", "exp_avg", "exp_avg_sq"), ("exp_avg",)
MEANS, LOSSES = "course.means", "course.losses"
STEP, EMA_STEP, ENDS_AT = "step", "ema_step", "ends_at"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that changes with a step; averages and optimizers are of what requires gradients."""

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    ema: EMAModel
    course: Course

    def parameters(self) -> dict[str, tuple[nn.Parameter, Tensor]]:
        """Return each parameter that is trained, and its average, by name."""
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        pairs = zip(named, self.ema.shadow_params, strict=True)
        return {name: (parameter, average) for (name, parameter), average in pairs}

    def optimizer_of(self) -> dict[nn.Parameter, torch.optim.Optimizer]:
        """Return the optimizer of each parameter that is trained."""
        return {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }


def step_reached(folder: Path) -> int:
    """Return the step of the state in a folder, 0 without one. Raises InputError for a torn one."""
    path = folder / STATE_FILE
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            return int(file.metadata()[STEP])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def is_at_its_end(folder: Path, num_steps: int) -> bool:
    """Whether the state in a folder is of the last step, of so many unless it ended sooner.

    Raises InputError for a torn one.
    """
    step = step_reached(folder)
    if not step:
        return False
    with safe_open(folder / STATE_FILE, "pt") as file:
        ends_at = int(file.metadata().get(ENDS_AT, num_steps))
    return step >= min(ends_at, num_steps)


def read_averages(folder: Path, part: str) -> dict[str, Tensor]:
    """Return the averaged weights of a part of the model that is trained in a folder.

    Raises InputError without a state, for a damaged one, and where none of the part is trained.
    """
    path, prefix = folder / STATE_FILE, f"ema.{part}."
    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            found = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    if not found:
        raise InputError(f"expected a training of {part} in {folder}, got one of something else")
    return found


def save_state(folder: Path, state: TrainingState, step: int) -> None:
    """Write the state at a step. Raises InputError where that cannot be done."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    optimizer_of = state.optimizer_of()
    for name, (parameter, average) in state.parameters().items():
        tensors[f"ema.{name}"] = average
        for key, value in optimizer_of[parameter].state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    tensors[MEANS] = torch.tensor(state.course.means, dtype=torch.float64)
    tensors[LOSSES] = torch.tensor([loss.item() for loss in state.course.losses])
    metadata = {STEP: str(step), EMA_STEP: str(state.ema.optimization_step)}
    if state.course.ends_at is not None:
        metadata[ENDS_AT] = str(state.course.ends_at)
    with new_file(folder / STATE_FILE) as partial:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial, metadata)


def load_state(folder: Path, state: TrainingState) -> int:
    """Go on from the state in a folder, and return its step; 0 without one.

    Raises InputError for a state that is damaged or of another model.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return 0
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        _put(tensors, state)
        state.ema.optimization_step = int(metadata[EMA_STEP])
        state.course.ends_at = int(metadata[ENDS_AT]) if ENDS_AT in metadata else None
        return int(metadata[STEP])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _put(tensors: Mapping[str, Tensor], state: TrainingState) -> None:
    model, optimizer_of = state.model, state.optimizer_of()
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    if MEANS in tensors:  # states from before plateaus were looked for lack them
        state.course.means = tensors[MEANS].tolist()
        state.course.losses = list(tensors[LOSSES].to(next(model.parameters()).device))
    with torch.no_grad():
        for name, (parameter, average) in state.parameters().items():
            average.copy_(tensors[f"ema.{name}"])
            optimizer = optimizer_of[parameter]
            keys = MUON_STATE if isinstance(optimizer, Muon) else ADAM_STATE
            if f"{keys[0]}.{name}" in tensors:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"].to(parameter.device) for key in keys
                }


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"expected the state of this training in {path}, got another or a damaged one "
        f"({in_one_line(error)}); take it out to begin anew"
    )
