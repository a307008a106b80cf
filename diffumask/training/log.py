"""The log of a training: a JSON object on each line, of which one key is "step"."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffumask.files.atomic import append, write_file, writing
from diffumask.files.json_kinds import is_number, parse

LOG_FILE = "log.jsonl"


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


def read_values(folder: Path, name: str, key: str) -> dict[int, float]:
    """Return the numbers that a log has under a key, by step in order; of a step the last one.

    Without a file none; what a power cut has cut short is left out.
    """
    path = folder / name
    texts = path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []
    lines = map(_parsed, texts)
    found = {line["step"]: line[key] for line in lines if is_number(line.get(key))}
    return dict(sorted(found.items()))


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        values = parse(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) and type(values.get("step")) is int else {}


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut short by a power cut
        return math.inf
