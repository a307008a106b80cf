"""The figures of all masks as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from benchmarks.estimates import best_column, calibrated_columns
from benchmarks.report import table
from diffumask.masks.thresholds import GAMMAS
from diffumask.proof.estimates import by_class, estimate, worst_class

from .methods import (
    DAAM_MAP,
    DEFAULT,
    DEFAULT_WITH_BAND,
    MAPS,
    NONE,
    OFFICIAL_MAP,
    OTSU,
    SELF_ATTENTION,
    THRESHOLDS,
    Judged,
)

MIOU_GOAL, WORST_GOAL = 0.80, 0.60
SEED = 0
GAMMA_COLUMNS = [THRESHOLDS.index(gamma) for gamma in GAMMAS]
FIXED = (0.4, 0.5, 0.6)
# Rows that look at the truth to choose a threshold, which a user cannot: marked in the tables.
CHEATS = "†"
BEST_FIXED = 0  # the place of that row among those of a grid
PEER_ROWS = (
    "DAAM, threshold 0.5",
    "DAAM of all grids, threshold 0.5",
    f"{DAAM_MAP}, best fixed {CHEATS}",
    "official DiffuMask code",
    f"{OFFICIAL_MAP}, best fixed {CHEATS}",
    "Dataset Diffusion",
    "Dataset Diffusion, its band left out",
    "SeeDiff-like",
)

Values = Float64[np.ndarray, " item"]


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one way over all items; NaN where it was not tried."""

    name: str
    iou: Values
    boundary: Values
    left_out: float = 0.0


def procedures(judged: Sequence[Judged]) -> dict[str, Row]:
    """Return our default and the peers."""
    rows = {}
    for name in judged[0].figures:
        of_items = [one.figures[name] for one in judged]
        left_out = float(np.mean([one.left_out for one in of_items]))
        ious, boundaries = (
            [getattr(one, field) for one in of_items] for field in ("iou", "boundary")
        )
        rows[name] = Row(name, np.array(ious), np.array(boundaries), left_out)
    for heat in MAPS:
        best = grid_rows(judged, heat, "none")[BEST_FIXED]
        rows[f"{heat}, best fixed {CHEATS}"] = replace(best, name=f"{heat}, {best.name}")
    return rows


def grid_rows(judged: Sequence[Judged], heat: str, refiner: str) -> list[Row]:
    """Return a row for each way to find the threshold, of one kind of heat and one refiner."""
    tried = [i for i, one in enumerate(judged) if (heat, refiner) in one.curves]
    curves = [judged[i].curves[heat, refiner] for i in tried]
    classes = [judged[i].class_name for i in tried]
    iou, boundary = (
        np.stack([getattr(one, name) for one in curves]) for name in ("iou", "boundary")
    )
    agreement = {
        kind: np.stack([one.agreement[kind] for one in curves]) for kind in curves[0].agreement
    }

    def row(name: str, columns: Sequence[int]) -> Row:
        figures = np.full((2, len(judged)), np.nan)
        rows = np.arange(len(tried))
        figures[:, tried] = iou[rows, columns], boundary[rows, columns]
        return Row(name, figures[0], figures[1])

    return [
        row(name, columns) for name, columns in _choices(iou[:, :OTSU], agreement, classes, heat)
    ]


def _choices(
    iou: Float64[np.ndarray, "item threshold"],
    agreement: Mapping[str, Float64[np.ndarray, "item candidate"]],
    classes: Sequence[str],
    heat: str,
) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield each way to choose, with the column that it chooses for each item."""
    n, best = len(classes), best_column(iou, classes)
    yield f"best fixed, {THRESHOLDS[best]:.2f} {CHEATS}", [best] * n
    for threshold in FIXED:
        yield f"fixed at {threshold}", [THRESHOLDS.index(threshold)] * n
    yield "Otsu", [OTSU] * n
    yield f"calibrated on the truth {CHEATS}", calibrated_columns(iou, classes)
    for kind, of_kind in agreement.items():
        if heat == NONE:
            yield f"calibrated on {kind}", calibrated_columns(of_kind[:, :OTSU], classes)
            yield f"adaptive by {kind}", adaptive_columns(of_kind)


def adaptive_columns(agreement: Float64[np.ndarray, "item candidate"]) -> list[int]:
    """Return the gamma whose mask agrees best with the affinity mask, Otsu where none does."""
    swept = agreement[:, GAMMA_COLUMNS]
    best = np.array(GAMMA_COLUMNS)[swept.argmax(1)]
    return np.where(swept.any(1), best, OTSU).tolist()


HEAD = ("way", "items", "mIoU", "boundary F", "worst class", "default less this")


def rows_table(rows: Sequence[Row], default: Row, classes: Sequence[str]) -> list[str]:
    """Write rows with their intervals and the paired difference of the default to each."""
    return table(HEAD, [_cells(row, default, classes) for row in rows])


def _cells(row: Row, default: Row, classes: Sequence[str]) -> tuple[object, ...]:
    worst, lowest = worst_class(row.iou, classes)
    difference = estimate(default.iou - row.iou, classes, SEED)
    left_out = f"; {row.left_out:.1%} of pixels left out" if row.left_out else ""
    return (
        row.name + left_out,
        int((~np.isnan(row.iou)).sum()),
        estimate(row.iou, classes, SEED),
        estimate(row.boundary, classes, SEED),
        f"{worst} {lowest:.3f}",
        "" if row is default else difference.signed,
    )


def peers_table(judged: Sequence[Judged]) -> list[str]:
    """Return our default, and below it the procedures of others."""
    rows, classes = procedures(judged), [one.class_name for one in judged]
    chosen = [rows[name] for name in (DEFAULT, DEFAULT_WITH_BAND, *PEER_ROWS)]
    return rows_table(chosen, rows[DEFAULT], classes)


def goals_table(judged: Sequence[Judged]) -> list[str]:
    """Return the goals beside what was reached."""
    rows, classes = procedures(judged), [one.class_name for one in judged]
    default = rows[DEFAULT]
    worst, lowest = worst_class(default.iou, classes)
    differences = {
        name: estimate(default.iou - rows[name].iou, classes, SEED) for name in PEER_ROWS
    }
    nearest = min(differences, key=lambda name: differences[name].low)
    beaten = sum(one.is_above_zero for one in differences.values())
    reached = [
        ("mIoU of the default", estimate(default.iou, classes, SEED), f"{MIOU_GOAL:.2f}"),
        (f"its worst class ({worst})", f"{lowest:.3f}", f"{WORST_GOAL:.2f}"),
        ("peer rows that it beats with the interval clear of zero", beaten, len(differences)),
        (f"least clear of them: {nearest}", differences[nearest].signed, "above 0"),
    ]
    return table(("figure", "reached", "goal"), reached)


def ablation_tables(judged: Sequence[Judged]) -> list[str]:
    """Return a table for each kind of heat and refiner, a line for each threshold method."""
    classes = [one.class_name for one in judged]
    default = procedures(judged)[DEFAULT]
    keys = sorted({key for one in judged for key in one.curves}, key=_order)
    lines: list[str] = []
    for heat, refiner in keys:
        rows = grid_rows(judged, heat, refiner)
        lines += ["", f"Heat: {heat}. Refiner: {refiner}.", ""]
        lines += rows_table(rows, default, classes)
    return lines


def _order(key: tuple[str, str]) -> tuple[int, int, str]:
    heats = [NONE, SELF_ATTENTION]
    return heats.index(key[0]) if key[0] in heats else len(heats), key[1] != "none", key[1]


def classes_table(
    judged: Mapping[str, Sequence[Judged]], absent: Mapping[str, int], oracle: Mapping[str, float]
) -> list[str]:
    """Return the figures of each class: how often present, and the IoU of the default."""
    ious = {
        kind: by_class(
            np.array([one.figures[DEFAULT].iou for one in of_kind]),
            [one.class_name for one in of_kind],
        )
        for kind, of_kind in judged.items()
    }
    names = sorted(set().union(*ious.values()) | set(absent))
    rows = [
        (
            name,
            absent.get(name, 0),
            *(f"{of_kind[name]:.3f}" if name in of_kind else "" for of_kind in ious.values()),
            f"{oracle[name]:.3f}" if name in oracle else "",
        )
        for name in names
    ]
    head = ("class", "absent", *(f"IoU, {kind}" for kind in ious), "oracle on renders")
    return table(head, rows)
