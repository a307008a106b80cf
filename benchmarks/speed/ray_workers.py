"""By how much do two workers on Ray make more than one? Each has one thread of the CPU.

Workers of one cluster on this machine load `tiny` and warm up; then one of them makes the items of
a round, and all of them make as many each, in turn. A ratio is that of the two in the same round.
One process without Ray, with one thread as well, makes what one worker does. Run it on a machine
with as many idle cores as workers.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch

from benchmarks.report import Report, middle, table, tell
from benchmarks.sampling import settings_of
from diffumask.dataset.store import open_store
from diffumask.generation.cluster import LOCAL, open_workers
from diffumask.generation.job import Job
from diffumask.generation.pipeline import GenerateSettings, generate
from diffumask.generation.plan import Item, plan
from diffumask.models import fingerprint, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.recipe.recipe import Recipe
from diffumask.types import Prompt

CLASSES = ("bird", "car")
Make = Callable[..., Any]


def _rate(make: Make, n: int, **options: Any) -> float:
    """Return the items a second of a way that makes n of them."""
    vocabulary = load_vocabulary("tiny")

    def prompt_of(item: Item) -> Prompt:
        return build(vocabulary, item.class_name, item.seed)

    items = plan(CLASSES, n // len(CLASSES), 0)
    with TemporaryDirectory() as folder, open_store(Path(folder), {}, {}, {}) as store:
        started = time.perf_counter()
        for _ in make(items=items, prompt_of=prompt_of, store=store, **options):
            pass
        return n / (time.perf_counter() - started)


def _on_ray(job: Job, count: int, n: int, rounds: int) -> tuple[float, list[float], list[float]]:
    """Return the seconds until all are loaded, and the items a second of one and of all."""
    one, several = [], []
    started = time.perf_counter()
    with open_workers(job, LOCAL, count) as workers:
        opened_s = time.perf_counter() - started
        tell(f"{count} workers opened in {opened_s:.1f} s")
        alone = replace(workers, actors=workers.actors[:1])
        batch_size = job.settings.batch_size
        for turn in range(rounds + 1):
            rate_of_one = _rate(alone.generate, n, batch_size=batch_size)
            rate_of_all = _rate(workers.generate, n * count, batch_size=batch_size)
            tell(f"round {turn} of {rounds}: {rate_of_one:.3f} and {rate_of_all:.3f} items/s")
            if turn:  # the first round warms up
                one.append(rate_of_one)
                several.append(rate_of_all)
    return opened_s, one, several


def main(
    n: Annotated[int, "items that a worker makes in a round, a multiple of 8"] = 24,
    rounds: int = 5,
    workers: Annotated[int, "workers, of one core each"] = 2,
    steps: Annotated[int, "denoising steps"] = 10,
) -> Report:
    os.environ |= {"RAY_worker_niceness": "0"}  # else workers give way to all that runs beside them
    torch.set_num_threads(1)
    spec = resolve("tiny")
    sampling = replace(settings_of(spec), num_inference_steps=steps)
    settings = GenerateSettings(spec.name, sampling, batch_size=4)
    job = Job(spec, fingerprint(spec), "cpu", "float32", Recipe(), settings)
    opened_s, one, several = _on_ray(job, workers, n, rounds)
    with job.open() as (pipe, bound):
        here = [_rate(generate, n, pipe=pipe, settings=bound) for _ in range(rounds + 1)][1:]
    ratios = [many / single for many, single in zip(several, one, strict=True)]
    rows = [
        ("one process without Ray", middle(here, 3), ""),
        ("one worker", middle(one, 3), ""),
        (f"{workers} workers", middle(several, 3), middle(ratios, 2)),
    ]
    facts = [
        f"{n} items of `tiny` a worker and round, {steps} steps, batches of {settings.batch_size},"
        f" {rounds} rounds after one that warms up.",
        f"Ray and {workers} workers took {opened_s:.1f} s to start, with the model loaded.",
        f"{workers} workers make {statistics.median(ratios):.2f} times the items of one.",
    ]
    lines = table(("way", "items/s", "ratio to one worker"), rows)
    return Report("Workers on Ray", facts, lines)
