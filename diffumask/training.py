"""The one training loop: seeded by step, checkpointed without pickle, resumable, with EMA."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffumask.errors import InputError
from diffumask.files.atomic import append, new_file, write_file, writing
from diffumask.files.inside import refuse_links
from diffumask.files.lock import locked

LOG_FILE, STATE_FILE = "log.jsonl", "state.safetensors"
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


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
    writes: bool = True,
) -> None:
    """Train what requires gradients to the end of its schedule; leave the averaged weights.

    `loss_at(step)` must draw all its randomness from the step, so that a resumed run sees the
    batches it would have seen; with accumulation it is called for the steps times that number,
    one after the other. With a folder, continues from `folder/state.safetensors` if there and
    appends to `folder/log.jsonl`, which is first cut back to the step of the state; of several
    processes that train together only one `writes`. There `on_checkpoint` sees the averaged
    weights; `on_step` is told the number of steps done in all. Raises InputError when the loss is
    not finite, where the folder cannot be written, and for a state that is damaged or of another
    model; the last state stays.
    """
    model.train()
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        wanted, schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    ema = EMAModel(wanted, decay=schedule.ema_decay, foreach=True)
    step = _load_state(folder, model, optimizer, ema) if folder else 0
    if folder and writes:
        cut_back(folder, LOG_FILE, step)
    on_step(step)
    losses, started = [], time.perf_counter()
    while step < schedule.num_steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.rate_factor(step)
        optimizer.zero_grad(set_to_none=True)
        loss = _backward(loss_at, step, schedule.accumulation_steps)
        nn.utils.clip_grad_norm_(wanted, schedule.max_grad_norm)
        optimizer.step()
        ema.step(wanted)
        losses.append(loss)
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
                _save_state(folder, model, optimizer, ema, step)
    ema.copy_to(wanted)
    model.eval()


def shared(
    network: nn.Module, device: torch.device, has_unused: bool = False
) -> tuple[nn.Module, int, int]:
    """Return a network whose gradients are the mean over all processes, the rank, their number.

    One process unless started by `torchrun` or `accelerate launch`. `has_unused` says that not
    every parameter takes part in every step.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return network, 0, 1
    unused = DistributedDataParallelKwargs(find_unused_parameters=has_unused)
    accelerator = Accelerator(kwargs_handlers=[unused], cpu=device.type == "cpu")
    prepared = accelerator.prepare_model(network)
    return prepared, accelerator.process_index, accelerator.num_processes


@contextlib.contextmanager
def folder_held(folder: Path | None) -> Iterator[None]:
    """Make the folder of a training, if there is to be one, and hold it against other runs.

    Raises InputError where that cannot be, and for links in it.
    """
    if folder is None:
        yield
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder)
    with locked(folder):
        yield


def step_reached(folder: Path) -> int:
    """Return the step of the state in a folder, 0 without one. Raises InputError for a torn one."""
    path = folder / STATE_FILE
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            return int(file.metadata()["step"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


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
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
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


def log_line(folder: Path, name: str, line: Mapping[str, Any]) -> None:
    """Append a line, of which one key is "step". Raises InputError where that cannot be done."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        append(folder, name, (json.dumps(line) + "\n").encode())


def cut_back(folder: Path, name: str, step: int) -> None:
    """Leave the lines of a log up to a step: those that follow will be written again.

    Raises InputError where that cannot be done.
    """
    path = folder / name
    if not path.is_file():
        return
    with writing(folder):
        lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
    if kept != lines:
        write_file(path, "".join(kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut short by a power cut
        return math.inf


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, one) for name, one in model.named_parameters() if one.requires_grad]


def _save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMAModel, step: int
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for (name, parameter), shadow in zip(_trained(model), ema.shadow_params, strict=True):
        tensors[f"ema.{name}"] = shadow
        for key in ADAM_STATE:
            if parameter in optimizer.state:
                tensors[f"{key}.{name}"] = optimizer.state[parameter][key]
    metadata = {"step": str(step), "ema_step": str(ema.optimization_step)}
    with new_file(folder / STATE_FILE) as partial:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial, metadata)


def _load_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMAModel
) -> int:
    path = folder / STATE_FILE
    if not path.exists():
        return 0
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        _put_state(tensors, model, optimizer, ema)
        ema.optimization_step = int(metadata["ema_step"])
        return int(metadata["step"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    what = " ".join(str(error).split())[:200]
    return InputError(
        f"expected the state of this training in {path}, got another or a damaged one ({what}); "
        "take it out to begin anew"
    )


def _put_state(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMAModel,
) -> None:
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    with torch.no_grad():
        for (name, parameter), shadow in zip(_trained(model), ema.shadow_params, strict=True):
            shadow.copy_(tensors[f"ema.{name}"])
            if f"step.{name}" in tensors:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"].to(parameter.device) for key in ADAM_STATE
                }
