"""A training in a folder: beside what `training.folder` keeps there, the network so far.

config.json, model.safetensors, preprocessor_config.json   the best network, or the last one
log.jsonl                                                  also the mIoU of each validation
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import make_report
from diffumask.files.json_kinds import is_number, parse
from diffumask.labelled.folder import Labelled
from diffumask.training.folder import TrainingFolder
from diffumask.training.log import LOG_FILE, log_line
from diffumask.types import OnStep, unseen_step

from .batches import Pairs
from .fit_settings import FitSettings
from .fitting import fit
from .network import Network
from .networks import WEIGHTS_FILE, save_network
from .predict import class_maps

MADE_BY = "diffumask train"
NO_PART = ("num_workers",)  # settings on which no weight depends
WAITS = 3  # validations in a row, over at least so many steps, that show no better network
WAITED_STEPS = 100


@dataclass(frozen=True, slots=True)
class Result:
    """How a training ended; without validation the mIoU is None."""

    best_step: int
    best_miou: float | None


def train_in_folder(
    network: Network,
    pairs: Pairs,
    settings: FitSettings,
    folder: Path,
    facts: Mapping[str, Any],
    validation: Labelled | None = None,
    on_step: OnStep = unseen_step,
) -> Result:
    """Train in a folder, or go on with what was begun there with the same settings and facts.

    With validation images the network with the highest mIoU at a checkpoint is kept, else the
    last one; a training until its plateau is then told by this mIoU in place of the loss. Raises
    InputError as `TrainingFolder.held` and `fit`.
    """
    place = TrainingFolder(folder, MADE_BY, product=folder / WEIGHTS_FILE)
    begun = {k: v for k, v in asdict(settings).items() if k not in NO_PART} | dict(facts)

    def on_checkpoint(step: int) -> bool:
        _keep(network, folder, step, validation)
        return settings.until_plateau and _no_better(folder, step)

    by_loss = settings.until_plateau and validation is None
    with place.held(begun) as is_finished:
        if is_finished:
            num_steps = place.num_steps()
            on_step(num_steps, num_steps)
        else:
            chosen = replace(settings, until_plateau=by_loss)
            num_steps = fit(network, pairs, chosen, folder, on_step, on_checkpoint)
            place.finish(num_steps)
        return _best(folder, num_steps)


def mean_iou(network: Network, labelled: Labelled) -> float:
    """Return the mIoU of a network, of what `diffumask evaluate` says of it too.

    Raises InputError where nothing can be counted.
    """
    counts = compare_network(
        labelled, lambda image: class_maps(network, [image])[0], with_outlines=False
    )
    return make_report(counts, labelled.mapping).miou


def _keep(network: Network, folder: Path, step: int, validation: Labelled | None) -> None:
    """Write the network if it is the best so far."""
    if validation is None:
        save_network(network, folder)
        return
    earlier = [line for line in _validations(folder) if line["step"] < step]
    miou = mean_iou(network, validation)
    if all(miou > line["miou"] for line in earlier):
        save_network(network, folder)
    log_line(folder, LOG_FILE, {"step": step, "miou": round(miou, 5)})


def _no_better(folder: Path, step: int) -> bool:
    """Whether the best validation is so long ago that no better one is to be expected."""
    steps = [line["step"] for line in _validations(folder)]
    best_step = _best(folder, step).best_step
    return step - best_step >= WAITED_STEPS and sum(one > best_step for one in steps) >= WAITS


def _validations(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Read the mIoU at each step that was validated, the last one of a step."""
    path = folder / LOG_FILE
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []
    found = {line["step"]: line for line in map(_parsed, lines) if "miou" in line}
    return [found[step] for step in sorted(found)]


def _parsed(line: str) -> Mapping[str, Any]:
    """Read a line of the log; nothing of one that a power cut has cut short."""
    try:
        values = parse(line)
    except ValueError:
        return {}
    is_whole = isinstance(values, dict) and type(values.get("step")) is int
    return values if is_whole and is_number(values.get("miou", 0)) else {}


def _best(folder: Path, num_steps: int) -> Result:
    best = Result(num_steps, None)
    for line in _validations(folder):
        if line["miou"] > (-math.inf if best.best_miou is None else best.best_miou):
            best = Result(line["step"], line["miou"])
    return best
