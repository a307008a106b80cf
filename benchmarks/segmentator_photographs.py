"""Does a Segmentator learn photographs faster than a segmentation network trained from nothing?

    python benchmarks/segmentator_photographs.py --data DATA --work DIR [--budget-s 60]
        [--out benchmarks/results/segmentator_photographs.md]

DATA holds oxford_pets_subset/, voc2012_animals/ and camvid/, each with images/, masks/ and
labels.csv. A head on the VAE of `tiny` and `upernet-tiny` get the same images in the same size and
the same seconds, in a process of their own; the seconds of the head count its encoding. The claim
of the source (deepsense.ai, 2023) is that it "significantly reduces training time" for "similar
outputs". Curves that stand in --work are not made again. The figures lie beside --out.
"""

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from line_chart import Axes, Line, lines_chart
from photograph_curves import HEAD_BATCH, METHODS, NETWORK, NETWORK_BATCH, SETS, SIDE, Job


def report(rows: Mapping[str, Mapping[str, Any]], arguments: argparse.Namespace) -> str:
    """Write the table as Markdown."""
    out = arguments.out or Path("segmentator_photographs.md")
    lines = [
        "# The Segmentator on photographs, at equal training time",
        "",
        f"Command: `python {shlex.join(_shown(sys.argv))}`.",
        f"{os.cpu_count()} cores, torch {torch.__version__}, one thread, Python"
        f" {platform.python_version()}. At most {arguments.images} training images and",
        f"{arguments.held_out} held-out ones, shorter side {SIDE} px; batches of {HEAD_BATCH} for"
        f" the head, of {NETWORK_BATCH} for `{NETWORK}`.",
        "Seconds are of the process, without judging. The VAE has seen renders alone.",
        "",
        "| data | trained | steps | CPU s | mIoU at each quarter of the time | inference, CPU ms |"
        " peak memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, of_set in rows.items():
        for method, row in of_set.items():
            curve = ", ".join(f"{value:.3f}" for _, value in row["points"])
            lines.append(
                f"| {name} | {_title(method)} | {row['steps']} | {row['points'][-1][0]:.0f} |"
                f" {curve} | {1000 * row['inference_s']:.0f} | {row['peak_mib']:.0f} |"
            )
            if "psnr_db" in row:
                notes.append(
                    f"{name}: the VAE gives photographs back at {row['psnr_db']:.1f} dB, and"
                    f" encoding took {row['encoding_s']:.0f} s of the head's time."
                )
    pictures = [f"![mIoU against seconds, {name}]({out.stem}_{name}.svg)" for name in rows]
    return "\n".join([*lines, "", *notes, "", *pictures]) + "\n"


def _title(method: str) -> str:
    return "Segmentator on the VAE of `tiny`" if method == "head" else f"`{NETWORK}`"


def _shown(words: list[str]) -> list[str]:
    """Replace what --data and --work are on this machine."""
    names = {"--data": "DATA", "--work": "DIR"}
    return [names.get(before, word) for before, word in zip(["", *words[:-1]], words, strict=True)]


def main() -> None:
    """Make the curves that are missing, print, and write the report and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=60.0)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--held-out", type=int, default=60)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    for name in arguments.sets:
        job = Job(
            arguments.data,
            arguments.work,
            name,
            arguments.images,
            arguments.held_out,
            arguments.budget_s,
        )
        for method, make in METHODS.items():
            path = arguments.work / f"{name}-{method}.json"
            if not path.exists():  # a process of its own, as memory is measured
                context = multiprocessing.get_context("spawn")
                with ProcessPoolExecutor(1, context) as pool:
                    path.write_text(json.dumps(pool.submit(make, job).result(), indent=2), "utf-8")
            rows.setdefault(name, {})[method] = json.loads(path.read_bytes())
    text = report(rows, arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
        for name, of_set in rows.items():
            curves = [Line(_title(m).replace("`", ""), row["points"]) for m, row in of_set.items()]
            axes = Axes("training, CPU seconds", "mIoU, held-out images")
            chart = lines_chart(f"{name}: learnt in the same time", axes, curves)
            arguments.out.with_name(f"{arguments.out.stem}_{name}.svg").write_text(chart, "utf-8")


if __name__ == "__main__":
    main()
