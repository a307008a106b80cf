"""How long do a folder of 100,000 items take to list, resume, extend, merge and check?

The items are synthetic: their files are hard links to a few tiny PNG files, their lines are as
long as real ones. Times are medians of the rounds, but where it says once, with
the files in the cache of the disk.
"""

import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np

from benchmarks.commands import Spent
from benchmarks.report import Report, middle, table
from diffumask.dataset.encode import EncodedItem, encode_item, to_line
from diffumask.dataset.listing import read_records
from diffumask.dataset.merge import merge, merged_run
from diffumask.dataset.names import item_name, item_paths
from diffumask.dataset.store import open_store
from diffumask.dataset.verify import verify
from diffumask.dataset.writer import Store
from diffumask.seeds import item_seed
from diffumask.types import Example, Prompt, Target

SETTINGS, CLASSES = {"model": "synthetic", "seed": 0}, {"bird": 3}
LINKS = 30_000  # of a file: ext4 takes 65,000
BATCH = 8
BATCHES = 8  # written in a round
GOAL_S = 5.0


def encoded(index: int) -> EncodedItem:
    """Make a tiny item with as long a line as `generate` writes."""
    prompt = Prompt(
        "a photo of a sparrow on a branch in the morning light, detailed, natural colours",
        (Target("sparrow", "bird", 3),),
        "sparrow",
        "on a branch in the morning light",
    )
    scores = {"contrast": 0.731234, "area": 0.212345, "compactness": 0.912345, "certainty": 0.98123}
    class_map = np.array([[0, 3, 3], [255, 3, 0]], np.uint8)
    example = Example(
        prompt, item_seed(0, "bird", index), np.zeros((2, 3, 3), np.uint8), class_map, scores
    )
    facts = {
        "index": index,
        "model": "synthetic",
        "num_inference_steps": 30,
        "guidance_scale": 7.5,
        "thresholds": [0.4123],
        "foreground": 0.212345,
    }
    return encode_item(item_name("bird", index), example, facts)


def write(folder: Path, n: int) -> None:
    """Make a dataset of `n` items as quickly as can be."""
    with open_store(folder, SETTINGS, CLASSES, {"n": n}):
        pass
    template = encoded(0)
    originals: list[str] = []
    with open(folder / "metadata.jsonl", "w", encoding="utf-8") as lines:
        for index in range(n):
            paths = item_paths(item_name("bird", index))
            lines.write(to_line(template.record.changed({**paths, "index": index})))
            if index % LINKS == 0:
                originals = [f"{folder}/{path}" for path in paths.values()]
                for path, content in zip(originals, template.files.values(), strict=True):
                    Path(path).write_bytes(content)
                continue
            for original, path in zip(originals, paths.values(), strict=True):
                os.link(original, f"{folder}/{path}")


def resume(folder: Path) -> None:
    """Open for writing and close again, which is all that a run with nothing to make does."""
    with open_store(folder, SETTINGS, CLASSES, {"n": 0}):
        pass


def merged(folder: Path) -> None:
    """Link all items to another folder."""
    with TemporaryDirectory(dir=folder.parent) as out:
        settings, classes, notes = merged_run([folder])
        with open_store(Path(out), settings, classes, *notes) as store:
            list(merge([folder], store))


def extend(store: Store, first: int) -> None:
    """Write batches of tiny items, as `generate` does."""
    new = (encoded(index) for index in range(first, first + BATCH * BATCHES))
    while batch := list(islice(new, BATCH)):
        store.write_batch(batch)


def seconds(work: Callable[[], object]) -> Spent:
    """Time one call."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - started, time.process_time() - cpu)


def measure(n: int, rounds: int) -> dict[str, list[Spent]]:
    """Return the seconds of each thing, in each round, for a dataset of `n` items."""
    repeated = range(rounds)
    with TemporaryDirectory() as name:
        folder = Path(name) / "data"
        write(folder, n)
        times = {
            "list (read_records)": [seconds(lambda: read_records(folder)) for _ in repeated],
            "resume (open_store and close)": [seconds(lambda: resume(folder)) for _ in repeated],
            "verify, every file read, once": [seconds(lambda: verify(folder))],
            "merge by hard links, once": [seconds(lambda: merged(folder))],
        }
        with open_store(folder, SETTINGS, CLASSES, {"n": n}) as store:
            firsts = (n + round_ * BATCH * BATCHES for round_ in range(rounds))
            times[f"write {BATCH * BATCHES} more, in batches of {BATCH}"] = [
                seconds(lambda first=first: extend(store, first)) for first in firsts
            ]
        assert len(read_records(folder)) == n + rounds * BATCH * BATCHES
    return times


def main(n: Annotated[Sequence[int], "items"] = (10_000, 100_000), rounds: int = 3) -> Report:
    """Measure each size."""
    by_n = {count: measure(count, rounds) for count in n}
    rows = []
    for name in next(iter(by_n.values())):
        cells = (
            f"{middle([one.wall_s for one in t])}, {middle([one.cpu_s for one in t])} of CPU"
            for t in (times[name] for times in by_n.values())
        )
        rows.append((name, *cells))
    facts = [
        f"Medians of {rounds} rounds in seconds (lowest to highest); the goal is {GOAL_S:g} s for",
        "the resume of 100,000 items.",
    ]
    lines = table(("", *(f"{count:,} items" for count in by_n)), rows)
    return Report("How long the store takes", facts, lines)
