"""The one training loop of the recipe: seeded by step, checkpointed, resumable, with EMA."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

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
    log_every: int = 50
    checkpoint_every: int = 1000

    def rate_factor(self, step: int) -> float:
        """Return the share of the learning rate at a step: warm-up, plateau, linear decay."""
        left = (self.num_steps - step) / (self.decay_share * self.num_steps)
        return max(min((step + 1) / self.warmup_steps, 1.0, left), 1e-3)


def train(
    model: nn.Module,
    loss_at: Callable[[int], Float[Tensor, ""]],
    schedule: Schedule,
    folder: Path,
    on_checkpoint: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a model to the end of its schedule and leave it with its averaged weights.

    `loss_at(step)` must draw all its randomness from the step, so that a resumed run sees the
    batches it would have seen. Continues from `folder/state.safetensors` if there. Appends to
    `folder/log.jsonl`; `on_checkpoint` sees the averaged weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    ema = EMAModel(model.parameters(), decay=schedule.ema_decay)
    step = _load_state(folder, model, optimizer, ema)
    losses, started = [], time.perf_counter()
    while step < schedule.num_steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.rate_factor(step)
        loss = loss_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), schedule.max_grad_norm)
        optimizer.step()
        ema.step(model.parameters())
        losses.append(loss.detach())
        step += 1
        if step % schedule.log_every == 0:
            seconds = time.perf_counter() - started
            _log(folder, step, torch.stack(losses).mean().item(), len(losses) / seconds)
            losses, started = [], time.perf_counter()
        if step % schedule.checkpoint_every == 0 or step == schedule.num_steps:
            _save_state(folder, model, optimizer, ema, step)
            with averaged_weights(model, ema):
                on_checkpoint(step)
    ema.copy_to(model.parameters())
    model.eval()


@contextlib.contextmanager
def averaged_weights(model: nn.Module, ema: EMAModel) -> Iterator[None]:
    """Put the averaged weights into a model in evaluation mode; restore both on exit."""
    ema.store(model.parameters())
    ema.copy_to(model.parameters())
    model.eval()
    try:
        yield
    finally:
        ema.restore(model.parameters())
        model.train()


def _log(folder: Path, step: int, loss: float, steps_per_s: float) -> None:
    line = {"step": step, "loss": round(loss, 5), "steps_per_s": round(steps_per_s, 2)}
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMAModel, step: int
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for (name, parameter), shadow in zip(model.named_parameters(), ema.shadow_params, strict=True):
        tensors[f"ema.{name}"] = shadow
        for key in ADAM_STATE:
            if parameter in optimizer.state:
                tensors[f"{key}.{name}"] = optimizer.state[parameter][key]
    partial = folder / "state.tmp"
    metadata = {"step": str(step), "ema_step": str(ema.optimization_step)}
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial, metadata)
    partial.replace(folder / "state.safetensors")


def _load_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMAModel
) -> int:
    path = folder / "state.safetensors"
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    with torch.no_grad():
        for (name, parameter), shadow in zip(
            model.named_parameters(), ema.shadow_params, strict=True
        ):
            shadow.copy_(tensors[f"ema.{name}"])
            if f"step.{name}" in tensors:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"].to(parameter.device if key != "step" else "cpu")
                    for key in ADAM_STATE
                }
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    ema.optimization_step = int(metadata["ema_step"])
    return int(metadata["step"])
