"""How many augmented images a second? By operation and for the default mix, on one core and two.

The sources are rendered scenes, written as a dataset folder. Augmentation is measured with its
sources in memory; reading and writing PNG files is measured for itself. Each figure is the median
of several rounds. Other programs on the machine lengthen the time of the clock; the last column,
images by the CPU seconds of one process, hardly feels them.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2

from benchmarks.commands import Spent
from benchmarks.report import Report, middle, table
from diffumask.augment.compose import OPERATIONS, AugmentSettings, augment_item
from diffumask.dataset.dataset import Dataset
from diffumask.dataset.encode import encode_class_map, encode_image
from diffumask.dataset.names import item_name
from diffumask.dataset.store import open_store
from diffumask.scenes import render_scene
from diffumask.types import Example, Prompt, Target

NO_OPERATION = dict.fromkeys(OPERATIONS, 0.0)
START_S = 0.2  # longer than a process takes to hear of its work
Rate = tuple[float, float]  # items a second of all processes, and by the CPU seconds of one

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


def timed(work: Callable[[int], None], first: int, n: int) -> Spent:
    """Work on `n` items, after one that does not count."""
    work(first)
    began, cpu = time.perf_counter(), time.process_time()
    for index in range(first, first + n):
        work(index)
    return Spent(time.perf_counter() - began, time.process_time() - cpu)


def rate(pool: ProcessPoolExecutor, processes: int, work: Callable[[int], None], n: int) -> Rate:
    """Measure some processes at once, each working on `n` items of its own."""
    jobs = [pool.submit(timed, work, k * n, n) for k in range(processes)]
    spent = [job.result() for job in jobs]
    return sum(n / one.wall_s for one in spent), sum(n / one.cpu_s for one in spent) / processes


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
        list(pool.map(time.sleep, [START_S] * processes))  # until all have their sources
        for _ in range(rounds):
            for name, work in works().items():
                count = n if name == "default mix" else max(2, n // 4)
                rates[name].append(rate(pool, processes, work, count))
    return rates


def main(
    side: int = 512,
    sources: int = 24,
    n: Annotated[int, "items of a process and round"] = 200,
    rounds: int = 5,
) -> Report:
    """Measure one process, and two."""
    with tempfile.TemporaryDirectory() as name:
        write_sources(Path(name), sources, side)
        one, two = (measure(Path(name), k, n, rounds) for k in (1, 2))
    rows = [
        (name, *(middle([wall for wall, _ in some[name]], 0) for some in (one, two)), cpu)
        for name, rates in one.items()
        for cpu in [middle([cpu for _, cpu in rates], 0)]
    ]
    facts = [
        f"One thread for OpenCV in each process. Medians of {rounds} rounds (lowest to highest) of",
        f"{n} items a process, of single operations a quarter; {sources} rendered sources in",
        "memory. Reading and encoding PNG is apart from augmentation: an item of the default mix",
        "needs 6.7 sources on average (64 at most), read unless they are in memory, and is encoded",
        "if it is kept.",
    ]
    lines = table(("", "one process", "two processes", "one, by CPU time"), rows)
    return Report(f"Augmented images a second at {side} x {side} px", facts, lines)
