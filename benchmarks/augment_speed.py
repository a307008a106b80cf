"""How many augmented images a second? By operation and for the default mix, on one core and two.

    OMP_NUM_THREADS=1 python benchmarks/augment_speed.py [--side 512] [--out FILE.md]

The sources are rendered scenes, written as a dataset folder. Augmentation is measured with its
sources in memory; reading and writing PNG files is measured for itself. Each figure is the median
of several rounds; the processes of a round start together, and its rate is all their images by the
time from the first start to the last end. Other programs on the machine lengthen that time; the
last column, images by the CPU seconds of one process, hardly feels them.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from diffumask.augment.compose import OPERATIONS, AugmentSettings, augment_item
from diffumask.dataset.dataset import Dataset
from diffumask.dataset.encode import encode_class_map, encode_image
from diffumask.dataset.names import item_name
from diffumask.dataset.store import open_store
from diffumask.scenes import render_scene
from diffumask.types import Example, Prompt, Target

NO_OPERATION = dict.fromkeys(OPERATIONS, 0.0)
START_DELAY_S = 0.2  # time for all processes to hear of a round

source: Dataset  # of a worker


def write_sources(folder: Path, n: int, side_px: int) -> None:
    """Render a dataset."""
    scenes = [render_scene(seed, (side_px, side_px)) for seed in range(n)]
    classes = {one.class_name: one.class_id for scene in scenes for one in scene.objects}
    with open_store(folder, {}, classes, {}) as store:
        for seed, scene in enumerate(scenes):
            names = {one.class_name: one.class_id for one in scene.objects}
            targets = tuple(Target(name, name, class_id) for name, class_id in names.items())
            prompt = Prompt(" and ".join(names), targets)
            example = Example(prompt, seed, scene.image, scene.class_map)
            store.write(item_name("scene", seed), example, {})


def open_worker(folder: Path) -> None:
    """Read all sources into memory."""
    global source
    cv2.setNumThreads(1)
    source = Dataset.open(folder).require_items()
    for position in range(len(source)):
        source.read(position)


def augmented(settings: AugmentSettings, index: int) -> None:
    """Augment an item from memory."""
    augment_item(index, source.read, len(source), settings, seed=0)


def read(index: int) -> None:
    """Read and check the two files of an item."""
    source.decode(index % len(source))


def encoded(index: int) -> None:
    """Encode an item as two PNG files."""
    pair = source.read(index % len(source))
    encode_image(pair.image)
    encode_class_map(pair.class_map)


@dataclass(frozen=True, slots=True)
class Span:
    """When a process began and ended, and the CPU time it took."""

    began: float
    ended: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Items a second of all processes, and items by the CPU seconds of all."""

    wall: float
    cpu: float


def timed(work: Callable[[int], None], first: int, n: int, start_at: float) -> Span:
    """Work on `n` items from a point in time on."""
    work(first)
    time.sleep(max(0.0, start_at - time.time()))
    began, cpu = time.time(), time.process_time()
    for index in range(first, first + n):
        work(index)
    return Span(began, time.time(), time.process_time() - cpu)


def rate(pool: ProcessPoolExecutor, processes: int, work: Callable[[int], None], n: int) -> Rate:
    """Measure some processes, each working on `n` items of its own."""
    start_at = time.time() + START_DELAY_S
    jobs = [pool.submit(timed, work, k * n, n, start_at) for k in range(processes)]
    spans = [job.result() for job in jobs]
    wall_s = max(one.ended for one in spans) - min(one.began for one in spans)
    return Rate(n * processes / wall_s, n * processes / sum(one.cpu_s for one in spans))


def works() -> dict[str, Callable[[int], None]]:
    """List what is measured, by its name in the table."""
    settings = {
        name: AugmentSettings(**{**NO_OPERATION, name: 1.0})  # type: ignore[arg-type]
        for name in OPERATIONS
    }
    settings["default mix"] = AugmentSettings()
    augmentations = {name: partial(augmented, one) for name, one in settings.items()}
    return {**augmentations, "read and check PNG": read, "encode PNG": encoded}


def measure(folder: Path, processes: int, n: int, rounds: int) -> dict[str, list[Rate]]:
    """Measure everything with some processes at once, the rounds interleaved."""
    rates: dict[str, list[Rate]] = {name: [] for name in works()}
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=open_worker, initargs=(folder,)
    ) as pool:
        list(pool.map(time.sleep, [START_DELAY_S] * processes))  # until all have their sources
        for _ in range(rounds):
            for name, work in works().items():
                count = n if name == "default mix" else max(2, n // 4)
                rates[name].append(rate(pool, processes, work, count))
    return rates


def rows(one: dict[str, list[Rate]], two: dict[str, list[Rate]]) -> list[str]:
    """Write medians, with the lowest and highest round."""

    def cell(rates: list[float]) -> str:
        return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"

    table = ["| | one process | two processes | one, by CPU time |", "|---|---|---|---|"]
    for name in one:
        walls = (cell([rate.wall for rate in some[name]]) for some in (one, two))
        table.append(f"| {name} | {' | '.join(walls)} | {cell([rate.cpu for rate in one[name]])} |")
    return table


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--sources", type=int, default=24)
    parser.add_argument("--n", type=int, default=200, help="items of a process and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, arguments.sources, arguments.side)
        one, two = (measure(folder, k, arguments.n, arguments.rounds) for k in (1, 2))
    lines = [
        f"# Augmented images a second at {arguments.side} x {arguments.side} px",
        "",
        f"Command: `OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python"
        f" {shlex.join(sys.argv)}`.",
        f"{os.cpu_count()} cores, one thread for OpenCV in each process; numpy {np.__version__},",
        f"OpenCV {cv2.__version__}, Python {platform.python_version()}. Medians of",
        f"{arguments.rounds} rounds (lowest to highest) of {arguments.n} items a process, of",
        f"single operations a quarter; {arguments.sources} rendered sources in memory. Reading and",
        "encoding PNG is apart from augmentation: an item of the default mix needs 6.7 sources on",
        "average (64 at most), read unless they are in memory, and is encoded if it is kept.",
        "",
        *rows(one, two),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
