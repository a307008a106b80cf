"""report.json and the table of images: written whole, never over something else.

{"format": 1, "made_by": "diffumask evaluate", "data": "voc", ..., "images": 445,
 "miou": 0.71, "miou_without_background": 0.69, "pixel_accuracy": 0.9, "boundary_f": 0.5,
 "classes": {"bird": {"class_id": 3, "iou": 0.7, ...}},
 "confusion": {"rows": ["background", ...], "columns": [..., "other"], "pixels": [[1, 0], ...]}}
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.atomic import write_file
from diffumask.plot import CREATOR_KEYS

from .counts import ImageFigures
from .report import OTHER, Report

FORMAT = 1
MADE_BY = "diffumask evaluate"
IMAGE_COLUMNS = ("image", "pixels", "pixel_accuracy", "miou")
CSV_MARK = ",".join(IMAGE_COLUMNS)


def refuse_foreign(path: Path) -> None:
    """Raise InputError if there is a file that is no report, figure or table of images of ours."""
    if not path.exists():
        return
    try:
        content = path.read_bytes()
        is_figure = path.suffix in CREATOR_KEYS and MADE_BY.encode() in content
        marked = is_figure or content.startswith(CSV_MARK.encode())
        raw = None if marked else json.loads(content)
    except (OSError, ValueError):
        marked, raw = False, None
    if not marked and not (isinstance(raw, dict) and raw.get("made_by") == MADE_BY):
        raise InputError(f"expected a free name or a file of {MADE_BY}, got {path}; choose another")


def write_report(path: Path, report: Report, facts: Mapping[str, Any]) -> None:
    """Write the figures with `facts` about what was compared, in place of an earlier report.

    Raises InputError for a file of something else, and where it cannot be written.
    """
    names = list(report.classes)
    pixels = report.confusion.tolist()
    head = {"format": FORMAT, "made_by": MADE_BY, **facts, **figures(report)}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    confusion = json.dumps({"rows": names, "columns": [*names, OTHER], "pixels": pixels})
    _write(path, "\n".join(["{", *lines, f'  "confusion": {confusion}', "}\n"]))


def figures(report: Report) -> dict[str, Any]:
    """Return all figures as JSON has them, without the confusion."""
    return {key: value for key, value in asdict(report).items() if key != "confusion"}


def write_images(
    path: Path, names: Sequence[str], each: Sequence[ImageFigures], classes: Mapping[str, int]
) -> None:
    """Write a line for each image as CSV, in place of an earlier file; raises as `write_report`.

    The mean is over the `classes` that either class map shows in it; the IoU of others is empty.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*IMAGE_COLUMNS, *(f"iou {name}" for name in classes)])
    for name, one in zip(names, each, strict=True):
        ious = [one.ious.get(class_id) for class_id in classes.values()]
        known = [iou for iou in ious if iou is not None]
        accuracy = one.hits / one.pixels if one.pixels else None
        mean = sum(known) / len(known) if known else None
        rows.writerow([name, one.pixels, accuracy, mean, *ious])
    _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    refuse_foreign(path)
    write_file(path, text.encode())
