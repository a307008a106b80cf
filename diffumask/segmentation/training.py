"""A training in a folder: beside what `training.folder` keeps there, the network so far.

config.json, model.safetensors, preprocessor_config.json   the best network, or the last one
log.jsonl                                                  also the mIoU of each validation
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import make_report
from diffumask.labelled.folder import Labelled
from diffumask.training.folder import TrainingFolder
from diffumask.training.log import LOG_FILE, log_line, read_values
from diffumask.training.waiting import no_better
from diffumask.types import OnStep, unseen_step

from .batches import Pairs
from .fit_settings import FitSettings
from .fitting import fit
from .network import Network
from .networks import WEIGHTS_FILE, save_network
from .predict import class_maps

MADE_BY = "diffumask train"
MIOU = "miou"  # of a validation, in the log
NO_PART = ("num_workers",)  # settings on which no weight depends


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
        return settings.until_plateau and no_better(read_values(folder, LOG_FILE, MIOU))

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
    scores = read_values(folder, LOG_FILE, MIOU)
    miou = mean_iou(network, validation)
    if all(miou > earlier for at, earlier in scores.items() if at < step):
        save_network(network, folder)
    log_line(folder, LOG_FILE, {"step": step, MIOU: round(miou, 5)})


def _best(folder: Path, num_steps: int) -> Result:
    best = Result(num_steps, None)
    for step, miou in read_values(folder, LOG_FILE, MIOU).items():
        if miou > (-math.inf if best.best_miou is None else best.best_miou):
            best = Result(step, miou)
    return best
