"""The one training loop: seeded by step, checkpointed without pickle, resumable, with EMA."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from torch import Tensor, nn

from diffumask.errors import InputError

from .distributed import is_first_process
from .log import LOG_FILE, cut_back, log_line
from .state import TrainingState, load_state, save_state


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and pace of a training; the last `decay_share` of the steps lower the rate to 0."""

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

    def rate_factor(self, step: int) -> float:
        """Return the share of the learning rate at a step: warm-up, plateau, linear decay."""
        left = (self.num_steps - step) / (self.decay_share * self.num_steps)
        return max(min((step + 1) / self.warmup_steps, 1.0, left), 1e-3)


def train(
    model: nn.Module,
    loss_at: Callable[[int], Float[Tensor, ""]],
    schedule: Schedule,
    folder: Path | None = None,
    on_checkpoint: Callable[[int], None] = lambda step: None,
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train what requires gradients to the end of its schedule; leave the averaged weights.

    `loss_at(step)` must draw all its randomness from the step, so that a resumed run sees the
    batches it would have seen; with accumulation it is called for the steps times that number,
    one after the other. With a folder, continues from `folder/state.safetensors` if there and
    appends to `folder/log.jsonl`, which is first cut back to the step of the state; of several
    processes that train together only the first writes. There `on_checkpoint` sees the averaged
    weights; `on_step` is told the number of steps done in all. Raises InputError when the loss is
    not finite, where the folder cannot be written, and for a state that is damaged or of another
    model; the last state stays.
    """
    wanted = _wanted(model.train())
    optimizer = torch.optim.AdamW(
        wanted, schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    ema = EMAModel(wanted, decay=schedule.ema_decay, foreach=True)
    state, writes = TrainingState(model, optimizer, ema), is_first_process()
    step = load_state(folder, state) if folder else 0
    if folder and writes:
        cut_back(folder, LOG_FILE, step)
    on_step(step)
    losses, started = [], time.perf_counter()
    while step < schedule.num_steps:
        losses.append(_step(state, loss_at, schedule, step))
        step += 1
        on_step(step)
        at_checkpoint = step % schedule.checkpoint_every == 0 or step == schedule.num_steps
        at_log = step % schedule.log_every == 0
        mean_loss = _finite_mean(losses, step) if at_log or at_checkpoint else 0.0
        if at_log:
            if folder and writes:
                _log(folder, step, mean_loss, len(losses) / (time.perf_counter() - started))
            losses, started = [], time.perf_counter()
        if at_checkpoint and writes:
            # The state comes last, so that what a kill cuts short here is done again.
            with averaged_weights(model, ema):
                on_checkpoint(step)
            if folder:
                save_state(folder, state, step)
    ema.copy_to(wanted)
    model.eval()


def _step(
    state: TrainingState, loss_at: Callable[[int], Float[Tensor, ""]], schedule: Schedule, step: int
) -> Float[Tensor, ""]:
    """Take one step, and return its loss."""
    wanted = _wanted(state.model)
    for group in state.optimizer.param_groups:
        group["lr"] = schedule.learning_rate * schedule.rate_factor(step)
    state.optimizer.zero_grad(set_to_none=True)
    loss = _backward(loss_at, step, schedule.accumulation_steps)
    nn.utils.clip_grad_norm_(wanted, schedule.max_grad_norm)
    state.optimizer.step()
    state.ema.step(wanted)
    return loss


def _wanted(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _backward(
    loss_at: Callable[[int], Float[Tensor, ""]], step: int, num_parts: int
) -> Float[Tensor, ""]:
    """Add up the gradients of the parts of a step, and return the mean of their losses."""
    losses = []
    for part in range(step * num_parts, (step + 1) * num_parts):
        loss = loss_at(part)
        (loss / num_parts).backward()
        losses.append(loss.detach())
    return torch.stack(losses).mean()


def _finite_mean(losses: list[Tensor], step: int) -> float:
    mean = torch.stack(losses).mean().item()
    if not math.isfinite(mean):
        raise InputError(
            f"expected a finite loss, got {mean} before step {step}; lower the learning rate; the "
            "last checkpoint stays"
        )
    return mean


@contextlib.contextmanager
def averaged_weights(model: nn.Module, ema: EMAModel) -> Iterator[None]:
    """Put the averaged weights into a model in evaluation mode; restore both on exit."""
    wanted = _wanted(model)
    ema.store(wanted)
    ema.copy_to(wanted)
    model.eval()
    try:
        yield
    finally:
        ema.restore(wanted)
        model.train()


def _log(folder: Path, step: int, loss: float, steps_per_s: float) -> None:
    line = {"step": step, "loss": round(loss, 5), "steps_per_s": round(steps_per_s, 2)}
    log_line(folder, LOG_FILE, line)
