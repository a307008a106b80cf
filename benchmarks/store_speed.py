"""How long do a folder of 100,000 items take to list, resume, extend, merge and check?

    python benchmarks/store_speed.py [--n 10000 100000] [--rounds 3] [--out FILE.md]

The items are synthetic: their files are hard links to a few tiny PNG files, their lines are as
long as real ones. Times are medians of the rounds, but where it says once, with
the files in the cache of the disk.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diffumask.dataset.encode import EncodedItem, encode_item, to_line
from diffumask.dataset.listing import read_records
from diffumask.dataset.merge import merge, merged_run
from diffumask.dataset.names import item_name, item_paths
from diffumask.dataset.store import Store, open_store
from diffumask.dataset.verify import verify
from diffumask.seeds import item_seed
from diffumask.types import Example, Prompt, Target

SETTINGS, CLASSES = {"model": "synthetic", "seed": 0}, {"bird": 3}
LINKS = 30_000  # of a file: ext4 takes 65,000
BATCH = 8
BATCHES = 8  # written in a round
GOAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock and of the processor."""

    wall: float
    cpu: float


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


def median(times: list[float]) -> str:
    """Write the median, the lowest and the highest."""
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


def report(by_n: dict[int, dict[str, list[Spent]]], rounds: int) -> str:
    """Write the table as Markdown."""
    lines = [
        "# How long the store takes",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, Python"
        f" {platform.python_version()}. Medians of {rounds} rounds in seconds (lowest to highest);",
        f"the goal is {GOAL_S:g} s for the resume of 100,000 items.",
        "",
        "| | " + " | ".join(f"{n:,} items" for n in by_n) + " |",
        "|---|" + "---|" * len(by_n),
    ]
    for name in next(iter(by_n.values())):
        cells = (
            f"{median([one.wall for one in t])}, {median([one.cpu for one in t])} of CPU"
            for t in (times[name] for times in by_n.values())
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    by_n = {n: measure(n, arguments.rounds) for n in arguments.n}
    text = report(by_n, arguments.rounds)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
