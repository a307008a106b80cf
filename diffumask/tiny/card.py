"""The model card of `tiny-mmdit`, with the figures of its training."""

import json
from importlib.resources import files
from pathlib import Path

from diffusers import SD3Transformer2DModel

from diffumask.files.atomic import write_file
from diffumask.training.log import LOG_FILE

from .mmdit import TEXT_LENGTH

SEEN_FILE = "seen.json"  # beside the log of a training: how many steps it took, and images it saw


def write_card(folder: Path, transformer: SD3Transformer2DModel, training: Path) -> None:
    """Write MODEL_CARD.md into the folder of an exported pipeline, with what its training left."""
    figures = {
        **transformer.config,
        **json.loads((training / SEEN_FILE).read_text("utf-8")),
        "parameters": transformer.num_parameters() / 1e6,
        "text_length": TEXT_LENGTH,
        "megabytes": n_bytes(folder) / 1e6,
        "hours": _hours(training / LOG_FILE),
    }
    template = (files("diffumask.tiny") / "mmdit_card.md").read_text("utf-8")
    write_file(folder / "MODEL_CARD.md", template.format_map(figures).encode())


def n_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _hours(log: Path) -> float:
    """Return how long the steps that a log tells of took; a short training has no log."""
    if not log.exists():
        return 0.0
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    steps = [0, *(line["step"] for line in lines)]
    taken = zip(steps, steps[1:], lines, strict=False)
    return sum((step - before) / line["steps_per_s"] for before, step, line in taken) / 3600
