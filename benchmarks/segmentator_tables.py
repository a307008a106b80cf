"""The tables and the figure of benchmarks/attention_vs_segmentator.py."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from line_chart import Axes, Line, lines_chart
from mask_statistics import Estimate, by_class, estimate

from diffumask.segmentator import TrainSettings

USUAL = TrainSettings(side=1)
ATTENTION = "attention"
PROMPTED = ("clipseg", "sam")
UNLEARNT = 0.05


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
    """What was trained: labelled images, steps, the head without some classes and those."""

    sizes: Sequence[int]
    steps: int
    batch_size: int
    without: str
    untaught: Sequence[str]


def report(
    results: Mapping[str, Judged], trained: Mapping[str, Mapping[str, Any]], setup: Setup
) -> str:
    """Write all tables as Markdown."""
    judged, odd = results["generated"], results["out of distribution"]
    lines = [
        "# Attention against the Segmentator",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} thread,"
        f" Python {platform.python_version()}.",
        f"{len(judged.classes)} images of `tiny`, a class of {len(set(judged.classes))} each, that"
        f" the oracle sees; {judged.left_out} where it does not are left out.",
        f"Heads are trained for {setup.steps} steps of {setup.batch_size} images. Figures are means"
        " over classes, brackets 95 % bootstrap intervals, paired for differences.",
        f"That is short: `segmentator train` takes {USUAL.num_steps} steps of {USUAL.batch_size} by"
        " default.",
        "Images are encoded and decoded for the heads, as their own hidden states are lost.",
        "",
        "![IoU against labelled images](attention_vs_segmentator.svg)",
        "",
        *_caveat(judged, setup.sizes),
        *_main_table(judged, setup.sizes),
        *_prompted(judged),
        "",
        "## Classes",
        "",
        *_class_table(judged, setup.sizes[-1]),
        "",
        "## Classes that the head was not taught",
        "",
        f"Heads of {setup.without.split(',')[0]} labelled images; one never saw"
        f" {', '.join(setup.untaught)}, and alone it cannot name them.",
        "",
        *_unseen_table(judged, setup),
        "",
        "## Prompts out of distribution",
        "",
        'A class with a sub-class of another ("a picture of a penguin bus on grass"), which no'
        f" caption of the training has: {len(odd.classes)} images, {odd.left_out} left out. Any"
        " object that the oracle sees counts as the prompt's, as it need not know its name either.",
        "",
        *_main_table(odd, setup.sizes),
        "",
        "## Time",
        "",
        *_time_table(judged, trained, setup.sizes),
    ]
    return "\n".join(lines) + "\n"


def figure(judged: Judged, setup: Setup) -> str:
    """Draw IoU against the number of labelled images."""

    def points(kind: str) -> list[tuple[float, float]]:
        return [(n, _mean(judged, f"{kind} {n}").mean) for n in setup.sizes]

    lines = [
        Line("attention, no labels", [(0, _mean(judged, ATTENTION).mean)]),
        Line("Segmentator", points("segmentator")),
        Line("both, fused", points("fused")),
    ]
    axes = Axes("labelled images", "IoU with the oracle, mean over classes", logarithmic=True)
    return lines_chart(f"Masks of tiny by labels; heads of {setup.steps} steps", axes, lines)


def _mean(judged: Judged, name: str, kind: str = "iou") -> Estimate:
    return estimate(np.array(getattr(judged, kind)[name]), judged.classes, seed=0)


def _gain(judged: Judged, name: str, over: str, kind: str = "iou") -> Estimate:
    values = getattr(judged, kind)
    return estimate(np.array(values[name]) - np.array(values[over]), judged.classes, seed=0)


def _main_table(judged: Judged, sizes: Sequence[int]) -> list[str]:
    rows = [
        "| source | labelled images | IoU | boundary F | IoU, less attention's | IoU, less the"
        " head's alone | boundary F, less attention's |",
        "|---|---|---|---|---|---|---|",
        f"| attention | 0 | {_mean(judged, ATTENTION)} | {_mean(judged, ATTENTION, 'boundary_f')} |"
        " | | |",
    ]
    for kind in ("segmentator", "fused"):
        for count in sizes:
            name = f"{kind} {count}"
            alone = "" if kind != "fused" else _gain(judged, name, f"segmentator {count}").signed
            rows.append(
                f"| {kind} | {count} | {_mean(judged, name)} |"
                f" {_mean(judged, name, 'boundary_f')} | {_gain(judged, name, ATTENTION).signed} |"
                f" {alone} | {_gain(judged, name, ATTENTION, 'boundary_f').signed} |"
            )
    return rows


def _caveat(judged: Judged, sizes: Sequence[int]) -> list[str]:
    """Say so where more labels do not help the heads, as their training ended too soon."""
    least, most = (f"segmentator {count}" for count in (sizes[0], sizes[-1]))
    if len(sizes) < 2 or _gain(judged, most, least).is_above_zero:
        return []
    names = by_class(np.array(judged.iou[most]), judged.classes)
    unknown = [name for name, value in names.items() if value < UNLEARNT]
    return [
        f"**{sizes[-1]} labelled images do no better than {sizes[0]} for the head alone: its"
        " training was probably too short, so this does not say how many labels it needs."
        f" The head of {sizes[-1]} cannot name {len(unknown)} of {len(names)} classes"
        f" (IoU below {UNLEARNT}).**",
        "",
    ]


def _prompted(judged: Judged) -> list[str]:
    names = [name for name in judged.iou if any(kind in name for kind in PROMPTED)]
    if not names:
        return ["", "CLIPSeg and SAM: absent, as no weights were given (`--prompted`)."]
    rows = ["", "| network | IoU | boundary F |", "|---|---|---|"]
    return rows + [
        f"| {name.split(':')[0]} | {_mean(judged, name)} | {_mean(judged, name, 'boundary_f')} |"
        for name in names
    ]


def _class_table(judged: Judged, count: int) -> list[str]:
    names = (ATTENTION, f"segmentator {count}", f"fused {count}")
    columns = [
        by_class(np.array(getattr(judged, kind)[name]), judged.classes)
        for kind in ("iou", "boundary_f")
        for name in names
    ]
    head = [f"{name}, {kind}" for kind in ("IoU", "boundary F") for name in names]
    return [
        f"| class | images | {' | '.join(head)} |",
        "|---|---|" + "---|" * len(head),
        *(
            f"| {one} | {judged.classes.count(one)} |"
            + "|".join(f" {column[one]:.3f} " for column in columns)
            + "|"
            for one in sorted(set(judged.classes))
        ),
    ]


def _unseen_table(judged: Judged, setup: Setup) -> list[str]:
    of_these = _only(judged, setup.untaught)
    taught = setup.without.split(",")[0]
    rows = ["| source | IoU | boundary F | IoU, less attention's |", "|---|---|---|---|"]
    for name in (
        ATTENTION,
        f"segmentator {setup.without}",
        f"fused {setup.without}",
        f"segmentator {taught}",
        f"fused {taught}",
    ):
        if name in of_these.iou:
            gain = "" if name == ATTENTION else _gain(of_these, name, ATTENTION).signed
            rows.append(
                f"| {name} | {_mean(of_these, name)} | {_mean(of_these, name, 'boundary_f')} |"
                f" {gain} |"
            )
    return rows


def _only(judged: Judged, classes: Sequence[str]) -> Judged:
    kept = [index for index, name in enumerate(judged.classes) if name in classes]

    def of(values: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        return {name: [one[index] for index in kept] for name, one in values.items()}

    names = [judged.classes[index] for index in kept]
    return Judged(names, of(judged.iou), of(judged.boundary_f), {}, 0)


def _time_table(
    judged: Judged, trained: Mapping[str, Mapping[str, Any]], sizes: Sequence[int]
) -> list[str]:
    last = sizes[-1]
    rows = ["| source | mask of an image, CPU ms | training, CPU s |", "|---|---|---|"]
    for name in (ATTENTION, f"segmentator {last}", f"fused {last}"):
        count = name.split()[-1]
        seconds = "" if name == ATTENTION else f"{trained[count]['cpu_s']:.0f}"
        rows.append(f"| {name} | {1000 * judged.cpu_s[name]:.0f} | {seconds} |")
    return [
        *rows,
        "",
        "Of a mask: what comes after the decoding, so the head where there is one, thresholds and"
        " the refiner. Seconds are of the process, as the machine did other work too.",
        "",
        "| labelled images | training, CPU s | classes that no mask shows |",
        "|---|---|---|",
        *(
            f"| {name} | {one['cpu_s']:.0f} | {', '.join(one['unknown']) or 'none'} |"
            for name, one in trained.items()
        ),
    ]
