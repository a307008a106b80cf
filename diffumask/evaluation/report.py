"""The figures that follow from counts, and how they read as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from diffumask.articles import counted
from diffumask.errors import InputError
from diffumask.labelled.mapping import LabelMapping
from diffumask.metrics import class_ious
from diffumask.types import BACKGROUND

from .counts import Counts

OTHER = "other"


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Agreement on one class; None where there is nothing to divide by.

    `recall` is the share of its true pixels that were found, `precision` that of its predicted
    pixels that are true. `boundary_f` is the mean over the images that show the class.
    """

    class_id: int
    iou: float | None
    recall: float | None
    precision: float | None
    boundary_f: float | None
    pixels: int


@dataclass(frozen=True, slots=True)
class Report:
    """Agreement on a dataset.

    Means are over the classes that occur in the truth or a prediction; those without background
    leave out that class alone, not its pixels. `groups` has the IoU of the classes of a group
    taken for one. `confusion` has a row for each true class and a
    column for each predicted one, with a last column for whatever else was predicted.
    """

    images: int
    pixels: int
    pixel_accuracy: float
    miou: float
    miou_without_background: float | None
    boundary_f: float | None
    classes: dict[str, ClassFigures]
    groups: dict[str, float | None]
    confusion: Int64[np.ndarray, "rows columns"]


def make_report(counts: Counts, mapping: LabelMapping) -> Report:
    """Make the figures. Raises InputError when no pixel counts.

    Classes that the data has no names for are listed only if they occur.
    """
    names = _listed(counts, mapping)
    ids = list(names)
    kept = counts.confusion[ids][:, ids]
    rest = counts.confusion[ids].sum(axis=1) - kept.sum(axis=1)
    pixels = int(kept.sum() + rest.sum())
    if not pixels:
        raise InputError("expected labelled pixels, got none but 255 in all masks")
    square = np.zeros((len(ids) + 1, len(ids) + 1), np.int64)  # no pixel is truly "other"
    square[:-1, :-1], square[:-1, -1] = kept, rest
    ious = class_ious(square)[:-1]
    true, predicted, hits = square[:-1].sum(axis=1), kept.sum(axis=0), np.diag(kept)
    edges = _divided(counts.boundary_sums[ids], counts.boundary_images[ids])
    recall, precision = _divided(hits, true), _divided(hits, predicted)
    columns = (list(map(_number, column)) for column in (ious, recall, precision, edges))
    figures = map(ClassFigures, ids, *columns, map(int, true))
    classes = dict(zip(names.values(), figures, strict=True))
    objects = [one.iou for name, one in classes.items() if not _is_background(name, mapping)]
    return Report(
        counts.images,
        pixels,
        int(hits.sum()) / pixels,
        float(np.nanmean(ious)),
        _mean(objects),
        _mean([one.boundary_f for one in classes.values()]),
        classes,
        _group_ious(square[:-1], list(names.values()), mapping.classes.groups),
        square[:-1],
    )


def table(report: Report) -> str:
    """Write the figures for people to read, in percent, a line for each class."""
    groups = {f"group {name}": iou for name, iou in report.groups.items()}
    width = max(map(len, [*report.classes, *groups, "mean without background"]))
    head = f"{'class':{width}}    IoU  recall  precision  boundary F  share of pixels"
    lines = [head]
    for name, one in report.classes.items():
        share = one.pixels / report.pixels
        figures = f"{_percent(one.iou, 7)}{_percent(one.recall, 8)}{_percent(one.precision, 11)}"
        rest = f"{_percent(one.boundary_f, 12)}{_percent(share, 17)}"
        lines.append(f"{name:{width}}{figures}{rest}")
    lines += [f"{name:{width}}{_percent(iou, 7)}" for name, iou in groups.items()]
    lines += ["", f"{'mean':{width}}{_percent(report.miou, 7)}"]
    if BACKGROUND in report.classes:
        objects = _percent(report.miou_without_background, 7)
        lines.append(f"{'mean without background':{width}}{objects}")
    lines += [
        f"{'pixel accuracy':{width}}{_percent(report.pixel_accuracy, 7)}",
        f"{'boundary F':{width}}{_percent(report.boundary_f, 7)}",
        counted(report.images, "image"),
    ]
    return "\n".join(lines)


def looks_binary(report: Report) -> list[str]:
    """Name what shows no class at all, "truth" or "predictions", as masks of 0 and 255 do."""
    names = [*report.classes, OTHER]
    predicted = dict(zip(names, report.confusion.sum(axis=0).tolist(), strict=True))
    objects = [name for name in report.classes if name != BACKGROUND]
    found = []
    if not any(report.classes[name].pixels for name in objects):
        found.append("truth")
    if predicted[OTHER] and not any(predicted[name] for name in objects):
        found.append("predictions")
    return found


def _listed(counts: Counts, mapping: LabelMapping) -> dict[int, str]:
    occurs = counts.confusion.sum(axis=0) + counts.confusion.sum(axis=1) > 0
    return {i: name for i, name in mapping.names.items() if occurs[i] or name != str(i)}


def _group_ious(
    confusion: Int64[np.ndarray, "rows columns"], names: Sequence[str], groups: Mapping[str, str]
) -> dict[str, float | None]:
    """Return the IoU of each group: a pixel is right if it was taken for any class of it."""
    ious = {}
    for group in dict.fromkeys(groups[name] for name in names if name in groups):
        of = [row for row, name in enumerate(names) if groups.get(name) == group]
        hits = int(confusion[of][:, of].sum())
        union = int(confusion[of].sum() + confusion[:, of].sum()) - hits
        ious[group] = hits / union if union else None
    return ious


def _is_background(name: str, mapping: LabelMapping) -> bool:
    return mapping.has_background and name == BACKGROUND


def _divided(
    part: Int64[np.ndarray, " c"] | Float64[np.ndarray, " c"], whole: Int64[np.ndarray, " c"]
) -> Float64[np.ndarray, " c"]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _percent(value: float | None, width: int) -> str:
    return f"{'-' if value is None else format(100 * value, '.1f'):>{width}}"
