"""An item of a dataset as the page holds it: thumbnail, mask, heat maps, scores and facts."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from diffumask.dataset.listing import has_maps
from diffumask.dataset.maps import AFFINITY, read_maps
from diffumask.dataset.record import VERDICT, Record
from diffumask.draw import THUMBNAIL_QUALITY, data_uri, shrink
from diffumask.errors import InputError
from diffumask.types import HEAT_LEVELS, ClassMap, Example, GridHeat, Image

QUALITY, FOREGROUND = "quality", "foreground"
LONGEST_RUN = 255
# Fields of a record that have a place of their own on the page.
PLACED = {
    *("file_name", "mask_file_name", "prompt", "class", "class_id", "targets", "scores"),
    *(VERDICT, "reason", QUALITY, FOREGROUND),
}


def item_fields(
    folder: Path, record: Record, example: Example, thumbnail_px: int, threshold_on: str
) -> dict[str, Any]:
    """Return an item for the page, as JSON.

    Its pictures have at most `thumbnail_px` on the longer side. `threshold_on` says which of
    the kept heat maps the masks were made from, "attention" or "affinity"; that one is taken.
    Raises InputError for heat maps that are damaged.
    """
    pictures = picture_fields(example, thumbnail_px)
    return {**record_fields(record), **pictures, "heats": _heats(folder, record, threshold_on)}


def broken_item(record: Record, fault: str) -> dict[str, Any]:
    """Return an item whose files cannot be shown, as JSON; `fault` says why."""
    return {**record_fields(record), "broken": fault, "heats": []}


def record_fields(record: Record) -> dict[str, Any]:
    """Return what the page shows of a record."""
    return {
        "name": record.name,
        "prompt": record.prompt.text,
        "classes": {target.class_name: target.class_id for target in record.prompt.targets},
        "verdict": record.verdict,
        "reason": record.reason or "",
        "scores": scores_of(record),
        "facts": _facts(record),
    }


def picture_fields(example: Example, thumbnail_px: int) -> dict[str, Any]:
    """Return the thumbnails of an image and its mask."""
    image = shrink(example.image, thumbnail_px)
    height, width = image.shape[:2]
    mask = encode_mask(shrink(example.class_map, thumbnail_px))
    return {"width": width, "height": height, "image": encode_thumbnail(image), "mask": mask}


def encode_thumbnail(image: Image) -> str:
    """Encode a picture as a data URI, in WebP with losses."""
    return data_uri(PillowImage.fromarray(image), "WEBP", quality=THUMBNAIL_QUALITY)


def encode_mask(class_map: ClassMap) -> str:
    """Encode a class map as runs, row by row: a byte of the id and one of its length, in base64.

    The page needs the ids as they are, and some browsers change pixels that a script reads.
    """
    ids = class_map.ravel()
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    lengths = np.diff(np.append(starts, ids.size))
    pieces = -(-lengths // LONGEST_RUN)
    runs = np.full((pieces.sum(), 2), LONGEST_RUN, np.uint8)
    runs[:, 0] = ids[starts].repeat(pieces)
    runs[pieces.cumsum() - 1, 1] = lengths - (pieces - 1) * LONGEST_RUN
    return base64.b64encode(runs.tobytes()).decode()


def scores_of(record: Record) -> dict[str, float]:
    """Return the scores of an item, its quality first."""
    found = {QUALITY: record.quality, **record.scores, FOREGROUND: record.foreground}
    return {name: float(value) for name, value in found.items() if value is not None}


def _heats(folder: Path, record: Record, threshold_on: str) -> list[dict[str, Any]]:
    """List the heat map of each target; none where no maps were kept."""
    if not has_maps(folder, record):
        return []
    heats, affinities = read_maps(folder, record)
    chosen = {**heats, **affinities} if threshold_on == AFFINITY else heats
    targets, thresholds = record.prompt.targets, record.thresholds or ()
    if len(thresholds) != len(targets):
        raise InputError(
            f"expected a threshold for each target of {record.name}, got {len(thresholds)}; "
            "make its masks again"
        )
    return [
        {
            "word": target.word,
            "class_id": target.class_id,
            "threshold": float(threshold),
            "grid": list(chosen[target.word].shape),
            "cells": _cells(chosen[target.word]),
        }
        for target, threshold in zip(targets, thresholds, strict=True)
    ]


def _cells(heat: GridHeat) -> str:
    return base64.b64encode(np.round(heat * HEAT_LEVELS).astype(np.uint8).tobytes()).decode()


def _facts(record: Record) -> list[tuple[str, str]]:
    """List the other fields as text: JavaScript would round a seed of 64 bits."""
    absent = [(f"no mask of {name}", reason) for name, reason in record.absent.items()]
    return absent + [
        (
            key.replace("_", " "),
            ", ".join(map(str, value)) if isinstance(value, list) else f"{value}",
        )
        for key, value in record.fields.items()
        if key not in PLACED and value not in (None, "", []) and not isinstance(value, dict)
    ]
