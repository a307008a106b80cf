"""What does `diffumask train` reach on photographs, from random weights and in minutes?

    python benchmarks/photographs.py --data DATA [--work DIR] [--steps 400]
        [--model upernet-tiny] [--set SET] [--out benchmarks/results/photographs.md]

DATA holds voc2012_animals/ and oxford_pets_subset/, each with images/, masks/ and labels.csv, whose
column `split` says what is trained on and what is held out: the official VOC 2012 val list, and
the test list of Oxford-IIIT Pet. Trains and evaluates through the same code as the commands, which
are printed. With the same --work it goes on where it stopped, and does no set twice.
"""

import argparse
import json
import os
import platform
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from diffumask.api.evaluate import EvaluateOptions, evaluate
from diffumask.cli import train

SIZE, SEED = "96x128", 0
RESULTS = Path(__file__).parent / "results" / "photographs.md"


@dataclass(frozen=True, slots=True)
class PhotographSet:
    """A folder of photographs, the split that is held out, and its classes; () stands for all."""

    folder: str
    held_out: str
    vocabulary: str | None = None
    classes: tuple[str, ...] = ()


SETS = (
    PhotographSet("voc2012_animals", "val", "voc", ("cat", "cow", "dog", "horse", "sheep")),
    PhotographSet("oxford_pets_subset", "test"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The report of `diffumask evaluate`, and how long the training took."""

    photographs: PhotographSet
    report: dict[str, Any]
    wall_s: float
    cpu_s: float


def measure(one: PhotographSet, data: Path, work: Path, model: str, steps: int) -> Measured:
    """Train on the split train and evaluate on the one that is held out, or read what it gave."""
    folder, network = data / one.folder, work / f"{one.folder}-{model}"
    report, times = network.with_suffix(".json"), network.with_suffix(".times.json")
    if times.exists():
        return Measured(one, json.loads(report.read_bytes()), **json.loads(times.read_bytes()))
    started, cpu = time.perf_counter(), time.process_time()
    line = train.run(
        train.Request(
            data=folder,
            model=model,
            out=network,
            split="train",
            vocabulary=one.vocabulary,
            classes=one.classes,
            steps=steps,
            size=SIZE,
            seed=SEED,
        )
    )
    took = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    options = EvaluateOptions(
        data=folder,
        checkpoint=str(network),
        split=one.held_out,
        vocabulary=one.vocabulary,
        classes=one.classes,
        out=report,
    )
    print(line, evaluate.run(options).text, sep="\n", flush=True)
    times.write_text(json.dumps(took), encoding="utf-8")
    return Measured(one, json.loads(report.read_bytes()), **took)


def commands(one: PhotographSet, model: str, steps: int) -> list[str]:
    """Return the two commands that do the same."""
    named = ["--vocabulary", one.vocabulary] if one.vocabulary else []
    named += [word for name in one.classes for word in ("--class", name)]
    folder = f"DATA/{one.folder}"
    trained = ["diffumask", "train", folder, "--split", "train", *named, "--model", model]
    trained += ["--steps", str(steps), "--size", SIZE, "-o", one.folder]
    judged = ["diffumask", "evaluate", "--data", folder, "--split", one.held_out, *named]
    return [shlex.join(trained), shlex.join([*judged, "--checkpoint", one.folder])]


def write(path: Path, measured: list[Measured], model: str, steps: int) -> None:
    """Write the tables."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    lines = [
        "# Photographs: what training from random weights reaches",
        "",
        f"`python benchmarks/photographs.py --data DATA --model {model} --steps {steps}`",
        "",
        f"{model}, {steps} steps of 16 images of {SIZE} pixels, seed {SEED}, random weights.",
        "The validation images took no part in the training and chose no checkpoint.",
        f"{machine}, torch {torch.__version__}, other work beside it.",
        "",
    ]
    for one in measured:
        report = one.report
        lines += [
            f"## {one.photographs.folder}, split {one.photographs.held_out}",
            "",
            "```sh",
            *commands(one.photographs, model, steps),
            "```",
            "",
            f"mIoU **{report['miou']:.3f}**, without background "
            f"{report['miou_without_background']:.3f}, on {report['images']} images; training took "
            f"{one.cpu_s:.0f} s of processor time, {one.wall_s:.0f} s on the clock.",
            "",
            "| class | IoU | recall | precision |",
            "|---|---|---|---|",
        ]
        for name, figures in report["classes"].items():
            row = (figures["iou"], figures["recall"], figures["precision"])
            lines.append(f"| {name} | " + " | ".join(map(_figure, row)) + " |")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    """Train and evaluate on both sets, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--model", default="upernet-tiny")
    parser.add_argument("--set", choices=[one.folder for one in SETS], help="default: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    chosen = [one for one in SETS if arguments.set in (None, one.folder)]
    model, steps = arguments.model, arguments.steps
    with TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        measured = [measure(one, arguments.data, work, model, steps) for one in chosen]
    if arguments.set is None:
        write(arguments.out, measured, model, steps)


if __name__ == "__main__":
    main()
