"""By how much do masks slow `generate` down? Rounds of plain sampling and of whole items.

Each round samples the same images of `tiny` several times, in random order: without masks, with
thresholded ones, and with the default ones: made after each batch, and while the next is sampled
by a thread (`--mask-workers 0`) or by a worker, both as `generate` does. A worker starts at once,
within what is timed. A ratio is that of two ways in the same round.

With OMP_NUM_THREADS one below the cores there is a core to spare; with as many, all are busy.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from benchmarks.report import Report, middle, table, tell
from benchmarks.sampling import batches, settings_of
from diffumask.dataset.store import open_store
from diffumask.generation.pipeline import GenerateSettings, annotate, generate
from diffumask.generation.plan import Item, plan
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Otsu
from diffumask.models import load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.sampling.sample import sample
from diffumask.types import Prompt, Sample

BATCH_SIZE = 8
PLAIN = "images and heat alone"
CLASSES = ("bird", "car", "flower", "potted plant")


def images_alone(pipe: Any, vocabulary: Vocabulary, settings: GenerateSettings, n: int) -> None:
    """Sample all items and throw them away."""
    for _ in _sampled(pipe, vocabulary, settings, n):
        pass


def masks_after(pipe: Any, vocabulary: Vocabulary, settings: GenerateSettings, n: int) -> None:
    """Sample all items, and make the masks of each batch before the next."""
    for samples in _sampled(pipe, vocabulary, settings, n):
        for one in samples:
            annotate(one, settings.masks)


def _sampled(
    pipe: Any, vocabulary: Vocabulary, settings: GenerateSettings, n: int
) -> Iterator[list[Sample]]:
    items = list(plan(CLASSES, n // len(CLASSES), 0))
    for batch in batches(items, settings.batch_size):
        prompts = [build(vocabulary, item.class_name, item.seed) for item in batch]
        yield sample(pipe, prompts, [item.seed for item in batch], settings.sampling)


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
    asked = replace(settings, sampling=replace(settings.sampling, presence=True))
    without = replace(simple, sampling=replace(settings.sampling, affinity=False))
    one, asked_one = replace(settings, mask_workers=1), replace(asked, mask_workers=1)
    return {
        PLAIN: (images_alone, without),
        "the same with the self-attention": (images_alone, settings),
        "the same, and asked for presence": (images_alone, asked),
        "masks by Otsu, written": (whole_items, without),
        "default masks after each batch": (masks_after, settings),
        "default masks, written by a thread": (whole_items, settings),
        "default masks, written by a worker": (whole_items, one),
        "the same, asked for presence": (whole_items, asked_one),
    }


def measure(n: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each round."""
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    pipe = load(spec)
    compared = ways(GenerateSettings("tiny", settings_of(spec), batch_size=BATCH_SIZE))
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    order = random.Random(0)
    for index in range(rounds + 1):
        for name in order.sample(list(compared), len(compared)):
            run, settings = compared[name]
            started = time.perf_counter()
            run(pipe, vocabulary, settings, n)
            if index:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
        tell(f"round {index} of {rounds}")
    return seconds


def main(n: Annotated[int, "images a round, a multiple of 8"] = 32, rounds: int = 5) -> Report:
    """Measure all ways."""
    seconds = measure(n, rounds)
    rows = []
    for name, times in seconds.items():
        ratios = [t / base for t, base in zip(times, seconds[PLAIN], strict=True)]
        rows.append((name, f"{statistics.median(times) / n:.3f}", middle(ratios, 3)))
    facts = [
        f"{n} images of `tiny` a round, batches of {BATCH_SIZE}.",
        "A ratio is the median over rounds of the time by that of images and heat alone.",
    ]
    lines = table(("way", "s/image", "ratio"), rows)
    return Report("What masks add to the time of `generate`", facts, lines)
