"""By how much do masks slow `generate` down? Rounds of plain sampling and of whole items.

    python benchmarks/mask_overhead.py [--n 32] [--rounds 5] [--out FILE.md]

Each round samples the same images of `tiny` several times, in random order: without masks, with
thresholded ones, and with the default ones, once made while the next batch is sampled (as
`generate` does) and once after each batch. A ratio is that of two ways in the same round.
"""

import argparse
import os
import platform
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from diffumask.dataset.store import open_store
from diffumask.generation.pipeline import GenerateSettings, annotate, generate
from diffumask.generation.plan import Item, plan
from diffumask.masks.class_map import MaskSettings
from diffumask.masks.thresholds import Otsu
from diffumask.models import load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt

BATCH_SIZE = 8
PLAIN = "images and heat alone"
CLASSES = ("bird", "car", "flower", "potted plant")


def images_alone(pipe: Any, vocabulary: Vocabulary, settings: GenerateSettings, n: int) -> None:
    """Sample all items and throw them away."""
    items = list(plan(CLASSES, n // len(CLASSES), 0))
    for start in range(0, len(items), settings.batch_size):
        batch = items[start : start + settings.batch_size]
        prompts = [build(vocabulary, item.class_name, item.seed) for item in batch]
        sample(pipe, prompts, [item.seed for item in batch], settings.sampling)


def masks_after(pipe: Any, vocabulary: Vocabulary, settings: GenerateSettings, n: int) -> None:
    """Sample all items, and make the masks of each batch before the next."""
    items = list(plan(CLASSES, n // len(CLASSES), 0))
    for start in range(0, len(items), settings.batch_size):
        batch = items[start : start + settings.batch_size]
        prompts = [build(vocabulary, item.class_name, item.seed) for item in batch]
        for one in sample(pipe, prompts, [item.seed for item in batch], settings.sampling):
            annotate(one, settings.masks)


def whole_items(pipe: Any, vocabulary: Vocabulary, settings: GenerateSettings, n: int) -> None:
    """Do what `diffumask generate` does."""

    def prompt_of(item: Item) -> Prompt:
        return build(vocabulary, item.class_name, item.seed)

    items = plan(CLASSES, n // len(CLASSES), 0)
    with TemporaryDirectory() as folder, open_store(Path(folder), {}, {}, {}) as store:
        for _ in generate(pipe, items, prompt_of, store, settings):
            pass


def ways(settings: GenerateSettings) -> dict[str, tuple[Callable[..., None], GenerateSettings]]:
    """Return what is compared."""
    simple = replace(settings, masks=MaskSettings("attention", Otsu(), "none", uncertain_band=0.0))
    without = replace(simple, sampling=replace(settings.sampling, affinity=False))
    return {
        PLAIN: (images_alone, without),
        "the same with the self-attention": (images_alone, settings),
        "masks by Otsu, written": (whole_items, without),
        "default masks after each batch": (masks_after, settings),
        "default masks, written": (whole_items, settings),
    }


def measure(n: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each round."""
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    pipe = load(spec)
    sampling = SampleSettings(
        spec.num_inference_steps, spec.guidance_scale, spec.height, spec.width
    )
    compared = ways(GenerateSettings("tiny", sampling, batch_size=BATCH_SIZE))
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    order = random.Random(0)
    for index in range(rounds + 1):
        for name in order.sample(list(compared), len(compared)):
            run, settings = compared[name]
            started = time.perf_counter()
            run(pipe, vocabulary, settings, n)
            if index:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
        print(f"round {index} of {rounds}", file=sys.stderr, flush=True)
    return seconds


def report(seconds: dict[str, list[float]], n: int) -> str:
    """Write the ratios as Markdown."""
    lines = [
        "# What masks add to the time of `generate`",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{n} images of `tiny` a round, batches of {BATCH_SIZE}; {os.cpu_count()} cores,",
        f"torch {torch.__version__}, Python {platform.python_version()}.",
        "A ratio is the median over rounds of the time by that of images and heat alone.",
        "",
        "| way | s/image | ratio | smallest | largest |",
        "|---|---|---|---|---|",
    ]
    for name, times in seconds.items():
        ratios = [t / base for t, base in zip(times, seconds[PLAIN], strict=True)]
        lines.append(
            f"| {name} | {statistics.median(times) / n:.3f} | {statistics.median(ratios):.3f}"
            f" | {min(ratios):.3f} | {max(ratios):.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=32, help="images a round, a multiple of 8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = report(measure(arguments.n, arguments.rounds), arguments.n)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
