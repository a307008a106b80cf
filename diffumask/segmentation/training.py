"""A training in a folder: what it was begun with, its log, its state and the network so far.

train.json                                          settings, written first
log.jsonl                                           loss, and the mIoU of each validation
state.safetensors                                   where to go on
config.json, model.safetensors, preprocessor_config.json   the best network, or the last one
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.dataset.run import refuse_changes
from diffumask.errors import InputError
from diffumask.files.atomic import write_file, writing
from diffumask.files.inside import refuse_links
from diffumask.files.json_kinds import is_number, parse
from diffumask.files.lock import LOCK_FILE, locked
from diffumask.files.partial import is_partial
from diffumask.labelled.folder import Labelled
from diffumask.metrics import class_ious, confusion_matrix
from diffumask.training import LOG_FILE, log_line
from diffumask.types import IGNORE_ID

from .fit import FitSettings, Pairs, fit
from .networks import Network, save_network
from .predict import class_maps

RUN_FILE = "train.json"
MADE_BY = "diffumask train"
NO_PART = ("num_workers",)  # settings on which no weight depends
CHUNK = 64  # images that are predicted and then forgotten


@dataclass(frozen=True, slots=True)
class Result:
    """How a training ended; without validation the mIoU is None."""

    best_step: int
    best_miou: float | None


def is_first_process() -> bool:
    """Return whether this process writes, of those that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def train_in_folder(
    network: Network,
    pairs: Pairs,
    settings: FitSettings,
    folder: Path,
    facts: Mapping[str, Any],
    validation: Labelled | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> Result:
    """Train in a folder, or go on with what was begun there with the same settings and facts.

    With validation images the network with the highest mIoU at a checkpoint is kept, else the
    last one. Raises InputError for other settings, whose keys it names, for a folder of something
    else or one that another run writes to, and as `fit`.
    """
    begun = {
        "made_by": MADE_BY,
        "settings": {k: v for k, v in asdict(settings).items() if k not in NO_PART} | dict(facts),
    }
    begun = json.loads(json.dumps(begun))  # as it will be read back
    check_folder(folder, begun["settings"])
    first = is_first_process()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) if first else nullcontext():
        if first:
            _begin(folder, begun)

        def on_checkpoint(step: int) -> None:
            if first:
                _keep(network, folder, step, validation)

        fit(network, pairs, settings, folder, on_step, on_checkpoint)
        return _best(folder, settings.num_steps)


def _begin(folder: Path, begun: Mapping[str, Any]) -> None:
    content = (json.dumps(begun, indent=2) + "\n").encode()
    write_file(folder / RUN_FILE, content)


def check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError for a folder of something else, or of a training with other settings."""
    path = folder / RUN_FILE
    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder as -o, got the file {folder}")
    refuse_links(folder)
    if not path.exists():
        there = sorted(os.listdir(folder)) if folder.exists() else []
        others = (name for name in there if name != LOCK_FILE)
        found = [name for name in others if not is_partial(name)]
        if found:
            raise InputError(
                f"expected an empty folder or one of {MADE_BY}, got {folder} with {found[0]!r} in "
                "it; choose another folder"
            )
        return
    try:
        begun = parse(path.read_bytes())
        made_by, earlier = begun["made_by"], begun["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        made_by, earlier = None, {}
    if made_by != MADE_BY or not isinstance(earlier, dict):
        raise InputError(f"expected {path} of {MADE_BY}, got another; choose another folder")
    refuse_changes(folder, earlier, settings)


def mean_iou(network: Network, labelled: Labelled) -> float:
    """Return the mIoU of a network over the classes, background too, that occur.

    Raises InputError where nothing can be counted.
    """
    labels = network.labels
    count = len(labels.names)
    confusion = np.zeros((count, count), np.int64)
    for start in range(0, len(labelled), CHUNK):
        chunk = list(labelled[start : start + CHUNK])
        predicted = class_maps(network, [one.image for one in chunk])
        for one, found in zip(chunk, predicted, strict=True):
            confusion += confusion_matrix(labels.encode(found), labels.encode(one.class_map), count)
    if not confusion.any():
        raise InputError(
            f"expected pixels of the classes {', '.join(labels.names[:10])} in "
            f"{labelled.folder}, got {IGNORE_ID} alone"
        )
    return float(np.nanmean(class_ious(confusion)))


def _keep(network: Network, folder: Path, step: int, validation: Labelled | None) -> None:
    """Write the network if it is the best so far."""
    if validation is None:
        save_network(network, folder)
        return
    earlier = [one for one in _validations(folder) if one["step"] < step]
    miou = mean_iou(network, validation)
    if all(miou > one["miou"] for one in earlier):
        save_network(network, folder)
    log_line(folder, LOG_FILE, {"step": step, "miou": round(miou, 5)})


def _validations(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Read the mIoU at each step that was validated, the last one of a step."""
    path = folder / LOG_FILE
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []
    found = {one["step"]: one for one in map(_parsed, lines) if "miou" in one}
    return [found[step] for step in sorted(found)]


def _parsed(line: str) -> Mapping[str, Any]:
    """Read a line of the log; nothing of one that a power cut has cut short."""
    try:
        told = parse(line)
    except ValueError:
        return {}
    is_whole = isinstance(told, dict) and type(told.get("step")) is int
    return told if is_whole and is_number(told.get("miou", 0)) else {}


def _best(folder: Path, num_steps: int) -> Result:
    best = Result(num_steps, None)
    for one in _validations(folder):
        if one["miou"] > (-math.inf if best.best_miou is None else best.best_miou):
            best = Result(one["step"], one["miou"])
    return best
