"""The one training loop: seeded by step, checkpointed without pickle, resumable, with EMA."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from torch import Tensor, nn

from diffumask.errors import InputError
from diffumask.heap import keep_heap
from diffumask.types import OnStep, unseen_step

from .course import Course
from .distributed import any_process, is_first_process
from .log import LOG_FILE, cut_back, log_line
from .muon import Muon, multiplies
from .schedule import Schedule
from .state import TrainingState, load_state, save_state


def train(
    model: nn.Module,
    loss_at: Callable[[int], Float[Tensor, ""]],
    schedule: Schedule,
    folder: Path | None = None,
    on_checkpoint: Callable[[int], bool | None] = lambda step: None,
    on_step: OnStep = unseen_step,
) -> int:
    """Train what requires gradients to the end of its schedule; leave the averaged weights.

    `loss_at(step)` must draw all its randomness from the step, so that a resumed run sees the
    batches it would have seen; with accumulation it is called for the steps times that number,
    one after the other. With a folder, continues from `folder/state.safetensors` if there and
    appends to `folder/log.jsonl`, which is first cut back to the step of the state; of several
    processes that train together only the first writes. There `on_checkpoint` sees the averaged
    weights, and may say that the rate is to fall from now on; `on_step` is told the number of
    steps done in all, and of how many. Returns how many steps it took in all. Raises InputError
    when the loss is not finite or grows as the schedule forbids, where the folder cannot be
    written, and for a state that is damaged or of another model; the last state stays.
    """
    state, writes = _begun(model, schedule), is_first_process()
    course = state.course
    step = load_state(folder, state) if folder else 0
    if folder and writes:
        cut_back(folder, LOG_FILE, step)
    on_step(step, course.num_steps)
    first, started = step, time.perf_counter()
    while step < course.num_steps:
        course.losses.append(_step(state, loss_at, schedule, step))
        step += 1
        on_step(step, course.num_steps)
        at_checkpoint = step % schedule.checkpoint_every == 0 or step == course.num_steps
        at_log = step % schedule.log_every == 0
        mean_loss = _finite_mean(course.losses, step) if at_log or at_checkpoint else 0.0
        if at_log:
            if folder and writes:
                _log(folder, step, mean_loss, (step - first) / (time.perf_counter() - started))
            first, started = step, time.perf_counter()
            course.add_mean(mean_loss, schedule.looks_back)
            _check_course(course, schedule, step)
            if schedule.patience and course.has_plateau(schedule.patience, schedule.least_gain):
                course.cool_down(step, schedule.decay_share)
        if at_checkpoint:
            _checkpoint(state, schedule, step, on_checkpoint, folder)
    state.ema.copy_to(_wanted(model))
    model.eval()
    return step


def _check_course(course: Course, schedule: Schedule, step: int) -> None:
    """Raise `InputError` for a training that came apart, before its state replaces a good one."""
    if schedule.diverged_ratio is None or not course.means[:-1]:
        return
    lowest, last = min(course.means[:-1]), course.means[-1]
    if last > schedule.diverged_ratio * lowest:
        raise InputError(
            f"expected a loss near {lowest:.4g}, got {last:.4g} at step {step}; go on from the last"
            " state with a lower learning rate"
        )


def _begun(model: nn.Module, schedule: Schedule) -> TrainingState:
    wanted = _wanted(model.train())
    if wanted and wanted[0].device.type == "cpu":
        keep_heap()
    ema = EMAModel(wanted, decay=schedule.ema_decay, foreach=True)
    return TrainingState(model, _optimizers(model, schedule), ema, Course(schedule.num_steps))


def _optimizers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    rate, decay = schedule.learning_rate, schedule.weight_decay
    by_muon = multiplies(model) if schedule.muon else []
    ids = {id(one) for one in by_muon}
    others = [one for one in _wanted(model) if id(one) not in ids]
    adam = torch.optim.AdamW(others, rate, weight_decay=decay, fused=True)
    return [Muon(by_muon, rate, decay), adam] if by_muon else [adam]


def _checkpoint(
    state: TrainingState,
    schedule: Schedule,
    step: int,
    on_checkpoint: Callable[[int], bool | None],
    folder: Path | None,
) -> None:
    """Show the averaged weights and save the state, in the first process alone.

    The state comes last, so that what a kill cuts short here is done again.
    """
    writes, is_enough = is_first_process(), False
    if writes:
        with averaged_weights(state.model, state.ema):
            is_enough = bool(on_checkpoint(step))
    if any_process(is_enough, next(state.model.parameters()).device):
        state.course.cool_down(step, schedule.decay_share)
    if folder and writes:
        save_state(folder, state, step)


def _step(
    state: TrainingState, loss_at: Callable[[int], Float[Tensor, ""]], schedule: Schedule, step: int
) -> Float[Tensor, ""]:
    """Take one step, and return its loss."""
    wanted = _wanted(state.model)
    factor = replace(schedule, num_steps=state.course.num_steps).rate_factor(step)
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * factor
    loss = _backward(loss_at, step, schedule.accumulation_steps)
    nn.utils.clip_grad_norm_(wanted, schedule.max_grad_norm)
    for optimizer in state.optimizers:
        optimizer.step()
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
