"""What serves a CPU best: glibc's heap kept or not; one thread, several, or as many processes.

Each measurement is a process of its own, forked from one that has imported everything, so that
memory begins alike; the ways alternate. The work of a way is the same, and shared among its
processes. CPU seconds and faults are of all threads and processes together, and hold on a machine
that others use too; seconds of the clock want idle cores. A ratio is that of a way and the first in
the same round.
"""

import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple
from unittest.mock import patch

import torch

import diffumask
from benchmarks.proof.noise_learning import write_items
from benchmarks.report import Report, middle, table, tell
from benchmarks.sampling import settings_of
from diffumask.generation.pipeline import GenerateSettings
from diffumask.models import load, resolve
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.segmentation import FitSettings, Labels, fit, new_network

from .mask_overhead import BATCH_SIZE, whole_items

CLASSES = ("bird", "car", "cat", "flower")
N_ITEMS, BATCH_OF_TRAINING, FOLDS = 48, 16, 2
WARMS_UP = 4  # images or steps


@dataclass(frozen=True, slots=True)
class Way:
    """How many processes work, by how many threads each, and whether they keep their heap."""

    processes: int
    threads: int
    keeps_heap: bool

    @property
    def title(self) -> str:
        """What a table calls it."""
        heap = "heap kept" if self.keeps_heap else "as glibc has it"
        many = f"{self.processes} processes of " if self.processes > 1 else ""
        return f"{many}{self.threads} thread{'s' * (self.threads > 1)}, {heap}"


class Spent(NamedTuple):
    """What a piece of work took; `kernel_s` of the CPU seconds are the kernel's."""

    wall_s: float
    cpu_s: float
    kernel_s: float
    faults: int
    peak_mib: float


def generating(_data: Path) -> Callable[[int], None]:
    """Return what makes so many items of `tiny`, masks and files included."""
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    settings = GenerateSettings("tiny", settings_of(spec), batch_size=BATCH_SIZE)
    return partial(whole_items, load(spec, "cpu"), vocabulary, settings)


def training(data: Path) -> Callable[[int], None]:
    """Return what trains a network for so many steps."""
    folder = diffumask.open_dataset(data)
    network = new_network("segformer-b0", Labels(folder.classes), 0, "cpu")
    pairs = [folder.read(index) for index in range(len(folder))]

    def run(n: int) -> None:
        fit(network, pairs, FitSettings(num_steps=n, batch_size=BATCH_OF_TRAINING))

    return run


def filtering(data: Path) -> Callable[[int], None]:
    """Return what cross-validates the items, so many steps in all folds together."""

    def run(n: int) -> None:
        with TemporaryDirectory() as folder:
            copy = shutil.copytree(data, Path(folder) / "items")
            diffumask.filter(folder=copy, folds=FOLDS, steps=max(1, n // FOLDS), device="cpu")

    return run


JOBS: Mapping[str, Callable[[Path], Callable[[int], None]]] = {
    "generate": generating,
    "train": training,
    "filter": filtering,
}


def measure(job: str, data: Path, way: Way, n: int) -> Spent:
    """Do a share of the work in this process, after a little of it that does not count."""
    torch.set_num_threads(way.threads)
    with nullcontext() if way.keeps_heap else patch("diffumask.heap.OPTIONS", {}):
        run = JOBS[job](data)
        run(WARMS_UP)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        run(n // way.processes)
        wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return Spent(
        wall_s,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        after.ru_stime - before.ru_stime,
        after.ru_minflt - before.ru_minflt,
        after.ru_maxrss / 1024,
    )


def spend(job: str, data: Path, way: Way, n: int) -> Spent:
    """Have the processes of a way do the work at once; the clock is that of the slowest."""
    with get_context("fork").Pool(way.processes) as pool:
        spent = pool.starmap(measure, [(job, data, way, n)] * way.processes, chunksize=1)
    walls, cpus, kernels, faults, peaks = zip(*spent, strict=True)
    return Spent(max(walls), sum(cpus), sum(kernels), sum(faults), sum(peaks))


def ways(processes: int) -> list[Way]:
    """Return what is compared: all cores by threads, one thread, and one thread each."""
    shared = dict.fromkeys([(1, processes), (1, 1), (processes, 1)])
    return [Way(*one, keeps_heap) for one in shared for keeps_heap in (False, True)]


def rows(job: str, spent: Mapping[Way, Sequence[Spent]], n: int) -> list[list[str]]:
    """Write a line for each way: the median of an image or step, and ratios to the first way."""
    found = []
    first = next(iter(spent.values()))
    for way, runs in spent.items():
        walls, cpus, kernels, faults, peaks = zip(*runs, strict=True)
        of_first = [
            [one[which] / base[which] for one, base in zip(runs, first, strict=True)]
            for which in (0, 1)
        ]
        cells = [f"{statistics.median(cpus) / n:.3f}", middle(of_first[1])]
        cells += [f"{statistics.median(kernels) / n:.3f}"]
        cells += [f"{statistics.median(walls) / n:.3f}", middle(of_first[0])]
        more = [f"{statistics.median(faults) / n:,.0f}", f"{statistics.median(peaks):.0f}"]
        found.append([job, way.title, *cells, *more])
    return found


HEAD = ("work", "way", "CPU s", "ratio", "in the kernel", "s", "ratio", "faults", "peak MiB")


def main(
    jobs: Annotated[Sequence[str], "to measure", list(JOBS)] = tuple(JOBS),
    n: Annotated[int, "images or steps of a measurement, a multiple of 8"] = 16,
    rounds: int = 3,
    cores: Annotated[int, "threads, or processes, of a way"] = os.cpu_count() or 1,
    one_thread: Annotated[bool, "leave out the ways of several threads or processes"] = False,
) -> Report:
    """Measure all ways in turn."""
    torch.set_num_threads(1)  # no pool of threads is forked
    compared = ways(1 if one_thread else cores)
    lines: list[list[str]] = []
    with TemporaryDirectory() as folder:
        data = Path(folder) / "items"
        write_items(data, CLASSES, N_ITEMS, 0.2, 0)
        for job in jobs:
            spent: dict[Way, list[Spent]] = {way: [] for way in compared}
            for index in range(rounds):
                for way in compared:
                    spent[way].append(spend(job, data, way, n))
                    tell(f"{job}, round {index + 1}, {way.title}: {spent[way][-1]}")
            lines += rows(job, spent, n)
    facts = [
        "`generate`: images of `tiny` with masks and files. `train`: steps of SegFormer-B0, 16",
        "images of 128 px. `filter`: steps of its network, predictions and verdicts. Figures are",
        "of an image or a step; a ratio is the median over rounds, with the lowest and highest.",
    ]
    return Report("What serves a CPU best", facts, table(HEAD, lines))
