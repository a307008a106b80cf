"""How many pairs a second are made of samples, and at what cost? Mask, encoding, writing; no model.

Samples are as a model leaves them: an image of 512 px, heat on a grid of 16 cells a side, and that
after propagation on 64. Images are rendered scenes, and photographs laid side by side until they
fill the size, which are busier than what is generated; the heat is that of a rendered object. Both
are made by no worker, as `generate --mask-workers 0` does, and by some. CPU seconds are those of
this process and of the workers, once these have started.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import psutil

from benchmarks.report import Report, middle, table, tell
from diffumask.dataset.store import open_store
from diffumask.generation.masking import GenerateSettings, make_item
from diffumask.generation.plan import Item, plan
from diffumask.generation.pool import Submit, open_pool
from diffumask.sampling.settings import SampleSettings
from diffumask.types import Image, Prompt, Sample, Target

from .encode_speed import mosaic, photographs
from .refine_speed import cases

SIDE_PX, GRID, FINE = 512, 16, 64
BATCH_SIZE = 8
WARM = 4  # calls of each worker before what is timed
SETTINGS = GenerateSettings("none", SampleSettings(1, 1.0, SIDE_PX, SIDE_PX))
PROMPT = Prompt("a photo of a thing", (Target("thing", "thing", 1),))


@dataclass(frozen=True, slots=True)
class Spent:
    """Of a pair, in seconds: wall time, and CPU time of this process and of the workers."""

    wall: float
    here: float
    workers: float


def samples(n: int, data: Path | None) -> Iterator[Sample]:
    """Make samples of scenes, or of photographs below a folder."""
    tiles = [] if data is None else list(photographs(data, 12 * n))
    for index, case in enumerate(cases(n, SIDE_PX)):
        image: Image = mosaic(tiles[index::n]) if tiles else case.image
        coarse, fine = (
            {"thing": cv2.resize(case.heat, (side, side), interpolation=cv2.INTER_AREA)}
            for side in (GRID, FINE)
        )
        yield Sample(PROMPT, index, image, coarse, fine)


def write_all(items: Sequence[Item], some: Sequence[Sample], submit: Submit, folder: Path) -> None:
    """Make and write items, a batch at a time while the next ones are made."""
    pairs = [(item, some[item.index % len(some)]) for item in items]
    with open_store(folder, {}, {"thing": 1}, {}) as store:
        making = [submit(make_item, *pair, SETTINGS) for pair in pairs]
        for start in range(0, len(making), BATCH_SIZE):
            batch = making[start : start + BATCH_SIZE]
            store.write_batch([one.result()[1] for one in batch])


def cpu_s() -> tuple[float, float]:
    """Return the CPU seconds so far of this process, and of those below it."""
    below = [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    return time.process_time(), sum(one.user + one.system for one in below)


def measure(workers: int, n: int, rounds: int, some: Sequence[Sample]) -> list[Spent]:
    """Return what each round spends on a pair."""
    items, found = list(plan(["thing"], n, 0)), []
    with open_pool(workers) as (submit, at_once), TemporaryDirectory() as folder:
        warm = [submit(make_item, items[0], some[0], SETTINGS) for _ in range(WARM * at_once)]
        for one in warm:
            one.result()
        for index in range(rounds):
            before, started = cpu_s(), time.perf_counter()
            write_all(items, some, submit, Path(folder) / str(index))
            wall, after = time.perf_counter() - started, cpu_s()
            here, below = (b - a for a, b in zip(before, after, strict=True))
            found.append(Spent(wall / n, here / n, below / n))
    return found


def main(
    data: Annotated[Path | None, "folder of photographs (.jpg, below it at any depth)"] = None,
    n: Annotated[int, "pairs a round"] = 32,
    rounds: int = 3,
    workers: Annotated[Sequence[int], "how many at a time"] = (0, 1, 2),
) -> Report:
    """Measure each number of workers."""
    cv2.setNumThreads(1)
    lines: list[str] = []
    kinds = {"Rendered scenes": None} | ({} if data is None else {"Photographs": data})
    for kind, folder in kinds.items():
        some, rows = list(samples(4, folder)), []
        for count in workers:
            found = measure(count, n, rounds, some)
            rows.append(
                (
                    count,
                    middle([1 / one.wall for one in found], 1),
                    middle([one.here + one.workers for one in found], 3),
                    middle([one.here for one in found], 3),
                )
            )
            tell(f"{kind}, {count} workers done")
        head = ("workers", "pairs a second", "CPU s a pair", "of it in this process")
        lines += [f"## {kind}", "", *table(head, rows), ""]
    facts = [
        f"{n} pairs of {SIDE_PX} px a round, batches of {BATCH_SIZE}; medians of {rounds} rounds",
        "(lowest to highest). 0 workers are a thread of this process.",
    ]
    return Report("Pairs a second that masks and files allow", facts, lines[:-1])
