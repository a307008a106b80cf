"""What does `diffumask train` reach on photographs, from random weights and in minutes?

--data holds voc2012_animals/ and oxford_pets_subset/, each with images/, masks/ and labels.csv,
whose column `split` says what is trained on and what is held out: the official VOC 2012 val list,
and the test list of Oxford-IIIT Pet. With the same --work it goes on where it stopped, and does no
set twice.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from benchmarks.commands import Spent, diffumask
from benchmarks.report import Report, table

from .sets import SETS, PhotographSet

SIZE, SEED = "96x128", 0
USUAL = ("voc2012_animals", "oxford_pets_subset")


def commands(
    one: PhotographSet, folder: Path | str, model: str, steps: int, out: Path | str
) -> tuple[list[str], list[str]]:
    """Return the words that train on the split train, and those that judge on the held-out one."""
    named = ["--vocabulary", one.vocabulary] if one.vocabulary else []
    named += [word for name in one.classes for word in ("--class", name)]
    trained = ["train", str(folder), "--split", "train", *named, "--model", model]
    trained += ["--steps", str(steps), "--size", SIZE, "--seed", str(SEED), "-o", str(out)]
    judged = ["evaluate", "--data", str(folder), "--split", one.held_out, *named]
    return trained, [*judged, "--checkpoint", str(out)]


def measure(
    one: PhotographSet, data: Path, work: Path, model: str, steps: int
) -> tuple[dict[str, Any], Spent]:
    """Train and evaluate, or read what it gave; return the report and the time of the training."""
    network = work / f"{one.folder}-{model}"
    report, times = network.with_suffix(".json"), network.with_suffix(".times.json")
    if not times.exists():
        trained, judged = commands(one, data / one.folder, model, steps, network)
        spent, _ = diffumask(*trained)
        diffumask(*judged, "-o", report)
        times.write_text(json.dumps(asdict(spent)), "utf-8")
    return json.loads(report.read_bytes()), Spent(**json.loads(times.read_bytes()))


def section(one: PhotographSet, data: Path, work: Path, model: str, steps: int) -> list[str]:
    """Write what a set gave."""
    report, spent = measure(one, data, work, model, steps)
    rows = [
        (name, *(_figure(figures[key]) for key in ("iou", "recall", "precision")))
        for name, figures in report["classes"].items()
    ]
    typed = commands(one, f"DATA/{one.folder}", model, steps, one.folder)
    return [
        f"## {one.folder}, split {one.held_out}",
        "",
        "```sh",
        *(f"diffumask {shlex.join(words)}" for words in typed),
        "```",
        "",
        f"mIoU **{report['miou']:.3f}**, without background "
        f"{report['miou_without_background']:.3f}, on {report['images']} images; training took "
        f"{spent.cpu_s:.0f} s of processor time, {spent.wall_s:.0f} s on the clock.",
        "",
        *table(("class", "IoU", "recall", "precision"), rows),
        "",
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main(
    data: Annotated[Path, "the folder of the photographs"],
    work: Annotated[Path, "where networks are kept"],
    steps: int = 400,
    model: str = "upernet-tiny",
    sets: Annotated[Sequence[str], "folders of photographs", SETS] = USUAL,
) -> Report:
    """Train and evaluate on each set."""
    work.mkdir(parents=True, exist_ok=True)
    facts = [
        f"{model}, {steps} steps of 16 images of {SIZE} pixels, seed {SEED}, random weights.",
        "The validation images took no part in the training and chose no checkpoint.",
    ]
    lines = [line for name in sets for line in section(SETS[name], data, work, model, steps)]
    return Report("Photographs: what training from random weights reaches", facts, lines[:-1])
