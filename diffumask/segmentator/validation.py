"""The labelled images that a training holds out, and how well a head does on them."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffumask.errors import InputError
from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import Report, make_report
from diffumask.labelled.folder import Labelled
from diffumask.training.log import log_line, read_values
from diffumask.training.waiting import no_better

from .examples import held_out
from .features import Autoencoder
from .file import Segmentator, save
from .predict import Predictor

VALIDATION_FILE = "validation.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"


def split(labelled: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """Return the images to train on and those held out; a share of 0 holds none out.

    Raises InputError for a single image of which some must be held out.
    """
    names = tuple(pair.name for pair in labelled.pairs)
    if share and len(names) < 2:
        raise InputError(
            f"expected at least 2 labelled images, one of them to validate, got {len(names)} in "
            f"{labelled.folder}; add some"
        )
    out = held_out(names, share) if share else [False] * len(names)
    trained = tuple(pair for pair, is_out in zip(labelled.pairs, out, strict=True) if not is_out)
    kept = tuple(pair for pair, is_out in zip(labelled.pairs, out, strict=True) if is_out)
    return replace(labelled, pairs=trained), replace(labelled, pairs=kept)


def validate(segmentator: Segmentator, vae: Autoencoder, labelled: Labelled) -> Report | None:
    """Compare a head with real masks; None without any."""
    if not len(labelled):
        return None
    counts = compare_network(labelled, Predictor(segmentator, vae), lambda count: None)
    return make_report(counts, labelled.mapping)


def earlier_scores(folder: Path) -> dict[int, float]:
    """Return the mIoU by step of the validations that a folder has."""
    return read_values(folder, VALIDATION_FILE, "miou")


@dataclass(slots=True)
class Validation:
    """Called at checkpoints: compares the head as it is, and writes that, and it, to the folder.

    Says whether heads get no better; never without images to validate on.
    """

    segmentator: Segmentator
    vae: Autoencoder
    images: Labelled
    folder: Path | None
    scores: dict[int, float] = field(default_factory=dict)  # mIoU by step
    started: float = field(default_factory=time.perf_counter)
    reports: dict[int, Report | None] = field(default_factory=dict)

    def __call__(self, step: int) -> bool:
        report = self.reports[step] = validate(self.segmentator, self.vae, self.images)
        miou = None if report is None else round(report.miou, 5)  # as one that goes on reads it
        if miou is not None:
            self.scores[step] = miou
        if self.folder is not None:
            self._write(self.folder, step, miou)
        return no_better(self.scores)

    def _write(self, folder: Path, step: int, miou: float | None) -> None:
        save(self.segmentator, self.vae, folder / CHECKPOINT_FILE)
        line = {
            "step": step,
            "miou": miou,
            "seconds": round(time.perf_counter() - self.started, 1),
        }
        log_line(folder, VALIDATION_FILE, line)

    def report(self, step: int) -> Report | None:
        """Return the figures of the head at a step, which it has now."""
        known = self.reports.get(step)
        return known or validate(self.segmentator, self.vae, self.images)
