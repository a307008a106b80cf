"""What does capture cost? Plain sampling, ours and the peers' ways, interleaved on one pipeline.

Time is that of the denoising, without the VAE. A ratio is the median over rounds of a strategy's
time by that of plain sampling in the same round; each round has its own random order. Extra
memory is the highest above that of plain sampling; kept bytes are what is held at the end. To store
everything takes gigabytes at 512 px in single precision: leave that out where they are not there.
"""

import gc
import random
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch

from benchmarks.charts import write_bars
from benchmarks.report import Picture, Report, middle, table, tell

from .architectures import ARCHITECTURES, PROMPT, build
from .strategies import STRATEGIES

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MIB = 2**20


@dataclass(slots=True)
class Cost:
    """What the runs of one strategy took, in the order of the rounds."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    kept_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured, and how."""

    strategies: Sequence[str]
    device: str
    dtype: str
    steps: int
    batch_size: int
    rounds: int


@contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """Append the highest memory in use within the block: of the GPU, or the process's pages."""
    found: list[int] = []
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        yield found
        found.append(torch.cuda.max_memory_allocated())
        return
    process, stop, peak = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
    found.append(max(peak, process.memory_info().rss))


def sample(pipe: Any, name: str, steps: int, batch_size: int) -> None:
    """Denoise a batch of the prompt."""
    size_px = ARCHITECTURES[name].size_px
    pipe(
        [PROMPT] * batch_size,
        height=size_px,
        width=size_px,
        num_inference_steps=steps,
        output_type="latent",
        generator=[torch.Generator().manual_seed(i) for i in range(batch_size)],
    )


def measure(pipe: Any, name: str, strategy: str, setup: Setup, cost: Cost) -> None:
    """Run a strategy once and add what it took."""
    gc.collect()
    with peak_memory(setup.device) as peak, STRATEGIES[strategy](pipe) as kept:
        _wait(setup.device)
        started = time.perf_counter()
        sample(pipe, name, setup.steps, setup.batch_size)
        _wait(setup.device)
        cost.seconds.append(time.perf_counter() - started)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept()}
        cost.kept_bytes = sum(storages.values())
    cost.peak_bytes += peak


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def compare(name: str, setup: Setup) -> dict[str, Cost]:
    """Measure all strategies, interleaved."""
    pipe = build(name, setup.device, DTYPES[setup.dtype])
    costs = {strategy: Cost() for strategy in STRATEGIES if strategy in setup.strategies}
    for strategy in costs:  # the first run of each allocates and picks kernels
        measure(pipe, name, strategy, setup, Cost())
    order = random.Random(0)
    for round_ in range(setup.rounds):
        for strategy in order.sample(list(costs), len(costs)):
            measure(pipe, name, strategy, setup, costs[strategy])
        tell(f"{name}: round {round_ + 1}/{setup.rounds}")
    return costs


def ratio(cost: Cost, plain: Cost) -> float:
    """Return the median over rounds of the time relative to plain sampling."""
    return statistics.median(a / b for a, b in zip(cost.seconds, plain.seconds, strict=True))


def extra_bytes(cost: Cost, plain: Cost) -> int:
    """Return the median over rounds of the peak above that of plain sampling, at least 0."""
    pairs = zip(cost.peak_bytes, plain.peak_bytes, strict=True)
    return max(0, int(statistics.median(a - b for a, b in pairs)))


def costs_table(costs: Mapping[str, Cost]) -> list[str]:
    """Write a row for each strategy."""
    plain, rows = costs["plain"], []
    for name, cost in costs.items():
        ratios = [a / b for a, b in zip(cost.seconds, plain.seconds, strict=True)]
        rows.append(
            (
                name,
                f"{statistics.median(cost.seconds):.3f}",
                middle(ratios, 3),
                f"{extra_bytes(cost, plain) / MIB:.1f}",
                f"{cost.kept_bytes / MIB:.2f}",
            )
        )
    return table(("strategy", "seconds", "time ratio", "peak extra MiB", "kept MiB"), rows)


def draw(path: Path, title: str, costs: Mapping[str, Cost]) -> None:
    """Draw time ratios and kept bytes."""
    plain = costs["plain"]
    ratios = {n: (ratio(c, plain), f"{ratio(c, plain):.2f}") for n, c in costs.items()}
    kept = {n: (c.kept_bytes, f"{c.kept_bytes / MIB:.2f} MiB") for n, c in costs.items()}
    panels = {"time by that of plain sampling": (ratios, False), "kept (log scale)": (kept, True)}
    write_bars(path, title, panels)


def main(
    models: Annotated[Sequence[str], "real architectures", ARCHITECTURES] = ("tiny",),
    strategies: Annotated[Sequence[str], "beside plain", STRATEGIES] = tuple(STRATEGIES),
    device: str = "cpu",
    dtype: Annotated[str, "precision", DTYPES] = "float32",
    steps: int = 4,
    batch_size: int = 1,
    rounds: int = 5,
) -> Report:
    """Measure all models."""
    setup = Setup(["plain", *strategies], device, dtype, steps, batch_size, rounds)
    lines, pictures = [], []
    caption = f"{device}, {dtype}, {steps} steps, batch of {batch_size}"
    for name in models:
        costs = compare(name, setup)
        size_px = ARCHITECTURES[name].size_px
        lines += [f"## {name}, {size_px} x {size_px} px", "", *costs_table(costs), ""]
        title = f"{name}: {caption}"
        pictures.append(Picture(f"_{name}.svg", title, partial(draw, title=title, costs=costs)))
    facts = [f"{caption}, guidance on, {rounds} rounds."]
    return Report("Cost of capture", facts, lines[:-1], pictures)
