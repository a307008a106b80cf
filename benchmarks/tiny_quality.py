"""How good is `tiny`? Presence of the prompted class, IoU of attention masks, seconds an image.

    python benchmarks/tiny_quality.py [--n 20] [--out benchmarks/results/tiny_quality.md]

An oracle trained on renders (benchmarks/oracle.py) says which pixels of a generated image show
which class. Prompts, seeds and settings are those of `diffumask generate`.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from oracle import MIN_AREA, evaluate_oracle, load_oracle, predict

from diffumask.masks import enlarge
from diffumask.metrics import iou
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.sample import SampleSettings, sample
from diffumask.seeds import item_seed
from diffumask.types import Heat, Mask

THRESHOLDS = np.arange(0.10, 0.91, 0.02).round(2)
BATCH_SIZE = 10
PRESENCE_GOAL, LOWEST_PRESENCE_GOAL, IOU_GOAL, SECONDS_GOAL = 0.95, 0.80, 0.65, 1.5


@dataclass(frozen=True, slots=True)
class Judged:
    """One generated image: its heat map and what the oracle sees of the prompted class."""

    class_name: str
    heat: Heat
    truth: Mask
    seconds: float

    @property
    def present(self) -> bool:
        """Whether the oracle sees the class on enough of the image."""
        return float(self.truth.mean()) >= MIN_AREA


def judge(spec: ModelSpec, vocabulary: Vocabulary, n: int, run_seed: int) -> Iterator[Judged]:
    """Generate `n` images of every class and let the oracle look at them."""
    pipe, oracle = load(spec), load_oracle()
    settings = SampleSettings(
        spec.num_inference_steps,
        spec.guidance_scale,
        spec.height,
        spec.width,
        vocabulary.negative_prompt,
    )
    names = [entry.name for entry in vocabulary.classes]
    jobs = [(name, item_seed(run_seed, name, index)) for name in names for index in range(n)]
    for start in range(0, len(jobs), BATCH_SIZE):
        batch = jobs[start : start + BATCH_SIZE]
        prompts = [build(vocabulary, name, seed) for name, seed in batch]
        started = time.perf_counter()
        samples = sample(pipe, prompts, [seed for _, seed in batch], settings)
        seconds = (time.perf_counter() - started) / len(batch)
        class_maps = predict(oracle, [one.image for one in samples])
        for one, class_map in zip(samples, class_maps, strict=True):
            (target,) = one.prompt.targets
            truth = class_map == target.class_id
            heat = enlarge(one.heats[target.word], truth.shape)
            yield Judged(target.class_name, heat, truth, seconds)
        print(f"{start + len(batch)}/{len(jobs)} images", file=sys.stderr, flush=True)


def iou_by_class(judged: Sequence[Judged], threshold: float) -> dict[str, float]:
    """Return the mean IoU over the images of each class on which the class is present."""
    per_class = defaultdict(list)
    for one in judged:
        if one.present:
            per_class[one.class_name].append(iou(one.heat > threshold, one.truth))
    return {name: statistics.mean(values) for name, values in per_class.items()}


def presence_by_class(judged: Sequence[Judged]) -> dict[str, float]:
    """Return the share of the images of each class on which the class is present."""
    per_class = defaultdict(list)
    for one in judged:
        per_class[one.class_name].append(one.present)
    return {name: statistics.mean(values) for name, values in per_class.items()}


def report(judged: Sequence[Judged], spec: ModelSpec, oracle_miou: dict[str, float]) -> str:
    """Write the figures as Markdown, each beside its goal."""
    presence = presence_by_class(judged)
    curve = {t: statistics.mean(iou_by_class(judged, t).values()) for t in THRESHOLDS}
    best = max(curve, key=lambda threshold: curve[threshold])
    ious = iou_by_class(judged, best)
    seconds = statistics.median(one.seconds for one in judged)
    worst = min(presence, key=lambda name: presence[name])
    count = len(judged) // len(presence)
    lines = [
        "# Quality of `tiny`",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{count} images of each of {len(presence)} classes, {spec.num_inference_steps} steps,",
        f"guidance {spec.guidance_scale}; {os.cpu_count()} cores, torch {torch.__version__},",
        f"Python {platform.python_version()}.",
        "",
        "| figure | reached | goal |",
        "|---|---|---|",
        *(f"| oracle mIoU, {name} | {value:.3f} | 0.90 |" for name, value in oracle_miou.items()),
        f"| (a) class present, mean | {statistics.mean(presence.values()):.3f} | {PRESENCE_GOAL} |",
        f"| (a) class present, lowest ({worst}) | {presence[worst]:.3f} | {LOWEST_PRESENCE_GOAL} |",
        f"| (b) mIoU of attention at {best:.2f} | {curve[best]:.3f} | {IOU_GOAL} |",
        f"| (c) s/image, median, batches of {BATCH_SIZE} | {seconds:.2f} | {SECONDS_GOAL} |",
        "",
        f"A class is present where the oracle sees it on at least {MIN_AREA:.0%} of the image.",
        "(b) is the mean over classes of the mean IoU over the images where the class is present,",
        "with one threshold for all.",
        "",
        "| class | present | IoU |",
        "|---|---|---|",
        *(f"| {name} | {presence[name]:.2f} | {ious.get(name, 0):.3f} |" for name in presence),
        "",
        "| threshold | mIoU |",
        "|---|---|",
        *(f"| {threshold:.2f} | {value:.3f} |" for threshold, value in curve.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=20, help="images per class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    spec = resolve(arguments.model)
    judged = list(judge(spec, load_vocabulary("tiny"), arguments.n, arguments.seed))
    text = report(judged, spec, evaluate_oracle())
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
