"""What does capture cost? Plain sampling, ours and the peers' ways, interleaved on one pipeline.

Time is that of the denoising, without the VAE. A ratio is the median over rounds of a strategy's
time by that of plain sampling in the same round; each round has its own random order. The peak is
that of live tensors, which torch's profiler counts on the CPU (buffers of its kernels included) and
its allocator on a GPU, in a run of its own: by how much it is above that of plain sampling. What
reading holds is the most that stands beside what there was when the reading of a layer began. Kept
bytes are held at the end. To store everything takes gigabytes at 512 px in single precision: leave
that out where they are not there.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.charts import write_bars
from benchmarks.report import Picture, Report, middle, table, tell
from diffumask.attention.recorders import Recorder

from .architectures import ARCHITECTURES, PROMPT, build
from .strategies import STRATEGIES

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MIB = 2**20
READING = "reading of a layer"
HEAD = (
    "strategy",
    "seconds",
    "time ratio",
    "peak above plain, MiB",
    "reading holds, MiB",
    "kept, MiB",
)


@dataclass(slots=True)
class Cost:
    """What the runs of one strategy took, in the order of the rounds."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    reading_bytes: int = 0
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


def live_bytes(device: str, work: Callable[[], object]) -> tuple[int, int]:
    """Return the most bytes of tensors that stand at a time, and those of reading a layer.

    Of a GPU the second is not known, and 0.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated(), 0
    with _marked(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    results: Any = profiler.profiler
    events = sorted(results.kineto_results.events(), key=lambda event: event.start_ns())
    changes = [(one.start_ns(), one.nbytes()) for one in events if one.name() == "[memory]"]
    readings = [(one.start_ns(), one.end_ns()) for one in events if one.name() == READING]
    times = np.array([at for at, _ in changes])
    live = np.array([nbytes for _, nbytes in changes]).cumsum()
    held = [0]
    for start, stop in readings:
        first, last = np.searchsorted(times, (start, stop))
        if 0 < first < last:
            held.append(int(live[first:last].max() - live[first - 1]))
    return int(live.max()), max(held)


@contextmanager
def _marked() -> Iterator[None]:
    """Mark where a layer is read among the profiler's events."""
    read = Recorder.read

    def marked(self: Recorder, seen: Any) -> Any:
        with record_function(READING):
            return read(self, seen)

    with patch.object(Recorder, "read", marked):
        yield


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
    with STRATEGIES[strategy](pipe) as kept:
        _wait(setup.device)
        started = time.perf_counter()
        sample(pipe, name, setup.steps, setup.batch_size)
        _wait(setup.device)
        cost.seconds.append(time.perf_counter() - started)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept()}
        cost.kept_bytes = sum(storages.values())


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def compare(name: str, setup: Setup) -> dict[str, Cost]:
    """Measure all strategies, interleaved."""
    pipe = build(name, setup.device, DTYPES[setup.dtype])
    costs = {strategy: Cost() for strategy in STRATEGIES if strategy in setup.strategies}
    for strategy, cost in costs.items():  # the first run of each allocates and picks kernels
        measure(pipe, name, strategy, setup, Cost())
        work = partial(measure, pipe, name, strategy, setup, Cost())
        cost.peak_bytes, cost.reading_bytes = live_bytes(setup.device, work)
    order = random.Random(0)
    for round_ in range(setup.rounds):
        for strategy in order.sample(list(costs), len(costs)):
            measure(pipe, name, strategy, setup, costs[strategy])
        tell(f"{name}: round {round_ + 1}/{setup.rounds}")
    return costs


def ratio(cost: Cost, plain: Cost) -> float:
    """Return the median over rounds of the time relative to plain sampling."""
    return statistics.median(a / b for a, b in zip(cost.seconds, plain.seconds, strict=True))


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
                f"{(cost.peak_bytes - plain.peak_bytes) / MIB:.2f}",
                f"{cost.reading_bytes / MIB:.2f}",
                f"{cost.kept_bytes / MIB:.2f}",
            )
        )
    return table(HEAD, rows)


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
