"""The tables and the figure of attention_vs_segmentator.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.charts import write_lines
from benchmarks.report import Picture, Report, table
from diffumask.proof.estimates import Estimate, by_class, estimate

ATTENTION = "attention"
KINDS = ("segmentator", "fused")


@dataclass(frozen=True, slots=True)
class Judged:
    """Figures of every source on the items whose class the oracle sees."""

    classes: list[str]
    iou: dict[str, list[float]]
    boundary_f: dict[str, list[float]]
    cpu_s: dict[str, float]  # per image
    left_out: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What was trained: labelled images, all heads, those compared on classes not all were taught.

    The last ones are named by `untaught`.
    """

    sizes: Sequence[int]
    heads: Sequence[str]
    compared: Sequence[str]
    untaught: Sequence[str]


def report(
    results: Mapping[str, Judged], trained: Mapping[str, Mapping[str, Any]], setup: Setup
) -> Report:
    """Write all tables."""
    judged, odd = results["generated"], results["out of distribution"]
    facts = [
        f"{len(judged.classes)} images of `tiny`, a class of {len(set(judged.classes))} each, that"
        f" the oracle sees; {judged.left_out} where it does not are left out.",
        "Heads are trained by the defaults of `segmentator train` until they get no better. Those"
        " of any class learn what is an object; the prompt names it. Figures are means over"
        " classes, brackets 95 % bootstrap intervals, paired for differences.",
        "Images are encoded and decoded for the heads, as their own hidden states are lost.",
    ]
    lines = [
        *_main_table(judged, setup.heads),
        "",
        "## Classes",
        "",
        *_class_table(judged, setup.heads[-1]),
        "",
        "## Classes that the head was not taught",
        "",
        f"Images of {', '.join(setup.untaught)}, which some heads never saw.",
        "",
        *_unseen_table(judged, setup),
        "",
        "## Prompts out of distribution",
        "",
        'A class with a sub-class of another ("a picture of a penguin bus on grass"), which no'
        f" caption of the training has: {len(odd.classes)} images, {odd.left_out} left out. Any"
        " object that the oracle sees counts as the prompt's, as it need not know its name either.",
        "",
        *_main_table(odd, setup.heads),
        "",
        "## Time",
        "",
        *_time_table(judged, trained, setup.heads),
    ]
    drawn = partial(draw, judged=judged, setup=setup)
    chart = Picture(".svg", "IoU against labelled images", drawn)
    pictures = [chart] if len(setup.sizes) > 1 else []
    return Report("Attention against the Segmentator", facts, lines, pictures)


def draw(path: Path, judged: Judged, setup: Setup) -> None:
    """Draw IoU against the number of labelled images."""

    def points(kind: str, of_any: str) -> list[tuple[float, float]]:
        return [(n, _mean(judged, f"{kind} {n}{of_any}").mean) for n in setup.sizes]

    lines = {"attention, no labels": [(0.0, _mean(judged, ATTENTION).mean)]}
    for of_any in ("", " of any class"):
        lines[f"Segmentator{of_any}"] = points("segmentator", of_any)
        lines[f"both, fused{of_any}"] = points("fused", of_any)
    labels = "labelled images", "IoU with the oracle, mean over classes"
    title = "Masks of tiny by labels"
    write_lines(path, title, labels, lines, logarithmic=True)


def _mean(judged: Judged, name: str, kind: str = "iou") -> Estimate:
    return estimate(np.array(getattr(judged, kind)[name]), judged.classes, seed=0)


def _gain(judged: Judged, name: str, over: str, kind: str = "iou") -> Estimate:
    values = getattr(judged, kind)
    return estimate(np.array(values[name]) - np.array(values[over]), judged.classes, seed=0)


def _both(judged: Judged, name: str) -> tuple[Estimate, Estimate]:
    return _mean(judged, name), _mean(judged, name, "boundary_f")


def _main_table(judged: Judged, heads: Sequence[str]) -> list[str]:
    rows: list[Sequence[object]] = [(ATTENTION, 0, *_both(judged, ATTENTION), "", "", "")]
    for kind in KINDS:
        for head in heads:
            name = f"{kind} {head}"
            gain = _gain(judged, name, ATTENTION).signed
            alone = "" if kind != "fused" else _gain(judged, name, f"segmentator {head}").signed
            of_boundary = _gain(judged, name, ATTENTION, "boundary_f").signed
            rows.append((kind, head, *_both(judged, name), gain, alone, of_boundary))
    less = ("IoU, less attention's", "IoU, less the head's alone", "boundary F, less attention's")
    return table(("source", "labelled images", "IoU", "boundary F", *less), rows)


def _class_table(judged: Judged, head: str) -> list[str]:
    names = (ATTENTION, f"segmentator {head}", f"fused {head}")
    columns = [
        by_class(np.array(getattr(judged, kind)[name]), judged.classes)
        for kind in ("iou", "boundary_f")
        for name in names
    ]
    titles = [f"{name}, {kind}" for kind in ("IoU", "boundary F") for name in names]
    rows = [
        [one, judged.classes.count(one), *(f"{column[one]:.3f}" for column in columns)]
        for one in sorted(set(judged.classes))
    ]
    return table(("class", "images", *titles), rows)


def _unseen_table(judged: Judged, setup: Setup) -> list[str]:
    of_these = _only(judged, setup.untaught)
    heads = [f"{kind} {name}" for name in setup.compared for kind in KINDS]
    rows = []
    for name in (ATTENTION, *heads):
        if name in of_these.iou:
            gain = "" if name == ATTENTION else _gain(of_these, name, ATTENTION).signed
            rows.append((name, *_both(of_these, name), gain))
    return table(("source", "IoU", "boundary F", "IoU, less attention's"), rows)


def _only(judged: Judged, classes: Sequence[str]) -> Judged:
    kept = [index for index, name in enumerate(judged.classes) if name in classes]

    def of(values: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        return {name: [one[index] for index in kept] for name, one in values.items()}

    names = [judged.classes[index] for index in kept]
    return Judged(names, of(judged.iou), of(judged.boundary_f), {}, 0)


def _time_table(
    judged: Judged, trained: Mapping[str, Mapping[str, Any]], heads: Sequence[str]
) -> list[str]:
    rows = [
        (name, f"{1000 * judged.cpu_s[name]:.0f}")
        for name in (ATTENTION, *(f"{kind} {heads[-1]}" for kind in KINDS))
    ]
    training = [
        (name, one["steps"], f"{one['cpu_s']:.0f}", ", ".join(one["unknown"]) or "none")
        for name, one in trained.items()
    ]
    titles = ("labelled images", "steps", "training, CPU s", "classes that no mask shows")
    return [
        *table(("source", "mask of an image, CPU ms"), rows),
        "",
        "Of a mask: what comes after the decoding, so the head where there is one, thresholds and"
        " the refiner. Seconds are of the process, as the machine did other work too.",
        "",
        *table(titles, training),
    ]
