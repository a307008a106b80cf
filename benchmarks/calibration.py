"""Which threshold suits which class, and how many masks does it take to know? With a figure.

    python benchmarks/calibration.py [--n 200] [--out benchmarks/results/calibration.md]

Images of `tiny` are judged by the oracle (benchmarks/oracle.py), whose masks stand for those that
a user would draw. Prompts, seeds and settings are those of `diffumask generate`; the thresholds
are those of `diffumask calibrate --reference transformers:benchmarks/oracle`. The figure lies
beside --out.
"""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from oracle import FOLDER, MIN_AREA

from diffumask.calibration.cases import Case, Combination, Gathered, gather
from diffumask.calibration.fit import THRESHOLDS, Curves, CurvesOf, Fit, fit, held_out_ious
from diffumask.calibration.plot import write_curves
from diffumask.calibration.references import Known, find_reference
from diffumask.calibration.sampled import Job, sampled_cases
from diffumask.generation.plan import plan
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.sampling.sample import SampleSettings

BATCH_SIZE = 10
MASK_COUNTS = (5, 10, 20, 50)
N_DRAWS = 200
FIXED = (0.4, 0.5)


@dataclass(frozen=True, slots=True)
class Lost:
    """IoU lost by a threshold of few masks against that of all, the mean over some classes."""

    n_masks: int
    n_classes: int
    mean: float
    high: float  # 95 of 100 draws lose less
    spread: float  # standard deviation of the threshold


def measure(spec: ModelSpec, vocabulary: Vocabulary, n: int, run_seed: int) -> Gathered:
    """Sample `n` images of every class and compare their heat with what the oracle sees."""
    settings = SampleSettings(
        spec.num_inference_steps,
        spec.guidance_scale,
        spec.height,
        spec.width,
        vocabulary.negative_prompt,
    )
    class_ids = {entry.name: entry.class_id for entry in vocabulary.classes}
    known = Known(class_ids, dict.fromkeys(class_ids, ()), frozenset())
    jobs = (
        Job(item.name, build(vocabulary, item.class_name, item.seed), item.seed)
        for item in plan(list(class_ids), n, run_seed)
    )
    cases = sampled_cases(load(spec), jobs, settings, BATCH_SIZE, combine_all=True)
    oracle = find_reference(f"transformers:{FOLDER}", known)
    return gather(_told(cases, n * len(class_ids)), oracle, list(class_ids), MIN_AREA)


def _told(cases: Iterator[Case], total: int) -> Iterator[Case]:
    for count, case in enumerate(cases, start=1):
        yield case
        if not count % BATCH_SIZE:
            print(f"{count}/{total} images", file=sys.stderr, flush=True)


def lost_by_few(curves: Curves, n_masks: int, seed: int = 0) -> Float64[np.ndarray, "draw 2"]:
    """Return the IoU that is lost with the threshold of a few items, and that threshold.

    The few are drawn again and again; the IoU is the mean over the other items, and it is compared
    with theirs at the best threshold of all items.
    """
    rng = np.random.default_rng(seed)
    best = curves.mean(0).argmax()
    draws = []
    for _ in range(N_DRAWS):
        shuffled = rng.permutation(curves)
        at = shuffled[:n_masks].mean(0).argmax()
        others = shuffled[n_masks:].mean(0)
        draws.append((others[best] - others[at], THRESHOLDS[at]))
    return np.array(draws)


def study_few(of_class: CurvesOf) -> list[Lost]:
    """Try numbers of masks on all classes that have twice as many items."""
    rows = []
    for n_masks in MASK_COUNTS:
        draws = [lost_by_few(c, n_masks) for c in of_class.values() if len(c) >= 2 * n_masks]
        if draws:
            lost, thresholds = np.moveaxis(np.array(draws), -1, 0)
            high = np.quantile(lost, 0.95, axis=1).mean()
            spread = thresholds.std(axis=1).mean()
            rows.append(Lost(n_masks, len(draws), lost.mean(), high, spread))
    return rows


def compare(of_class: CurvesOf) -> dict[str, float]:
    """Return the IoU of ways to choose a threshold, as the mean over classes of held-out items."""

    def mean(ious: Sequence[Float64[np.ndarray, " item"]]) -> float:
        return float(np.mean([of_one.mean() for of_one in ious]))

    together = held_out_ious(np.concatenate(list(of_class.values())))
    ends = np.cumsum([len(curves) for curves in of_class.values()])
    at_fixed = {t: int(np.abs(THRESHOLDS - t).argmin()) for t in FIXED}
    return {
        "of its class, from other items": mean([held_out_ious(c) for c in of_class.values()]),
        "one for all classes, from other items": mean(np.split(together, ends[:-1])),
        **{f"{t}": mean([c[:, i] for c in of_class.values()]) for t, i in at_fixed.items()},
        "best of each image (no method knows it)": mean([c.max(1) for c in of_class.values()]),
    }


def describe(combination: Combination) -> str:
    """Name a combination in a few words."""
    grids = "default grids"
    if combination.weights is not None:
        grids = f"grids 1/{', 1/'.join(map(str, combination.weights))}"
    return f"{combination.heat}, merge {combination.merge}, {grids}"


def report(gathered: Gathered, found: Fit, spec: ModelSpec, figure: Path) -> str:
    """Write all tables as Markdown."""
    of_class = {name: gathered.curves[found.setting][name] for name in found.classes}
    thresholds = [one.threshold for one in found.classes.values()]
    lines = [
        f"# Calibrated thresholds of `{spec.name}`",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{spec.num_inference_steps} steps, guidance {spec.guidance_scale};",
        f"{os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}.",
        "The reference is the oracle; images where it sees the class on less than",
        f"{MIN_AREA:.0%} are left out.",
        "",
        f"![IoU against threshold for each class]({figure.name})",
        "",
        f"The best threshold runs from {min(thresholds):.2f} to {max(thresholds):.2f}. Bands and",
        "brackets are 95 % bootstrap intervals.",
        *few_section(of_class),
        "",
        "## Is a threshold for each class worth it?",
        "",
        "| threshold | IoU, mean over classes |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in compare(of_class).items()),
        *combination_section(gathered, found),
        *class_section(found),
    ]
    return "\n".join(lines) + "\n"


def few_section(of_class: CurvesOf) -> list[str]:
    """Say how much IoU is lost with few masks."""
    return [
        "",
        "## How many masks are enough?",
        "",
        f"A few images of a class are drawn {N_DRAWS} times; their best threshold is applied to",
        "the other images of the class, and compared there with the best threshold of all. Figures",
        "are means over classes with at least twice as many images.",
        "",
        "| masks | classes | IoU lost, mean | IoU lost, 95th percentile | threshold, s.d. |",
        "|---|---|---|---|---|",
        *(
            f"| {row.n_masks} | {row.n_classes} | {row.mean:.4f} | {row.high:.4f} |"
            f" {row.spread:.3f} |"
            for row in study_few(of_class)
        ),
    ]


def combination_section(gathered: Gathered, found: Fit) -> list[str]:
    """Say how well each combination does on held-out items."""
    scores = [
        (describe(way), np.mean([held_out_ious(curves[name]).mean() for name in found.classes]))
        for way, curves in zip(gathered.combinations, gathered.curves, strict=True)
    ]
    return [
        "",
        "## Merge and grids",
        "",
        f"Chosen: {describe(gathered.combinations[found.setting])}. Another than the first is",
        "chosen only where the 95 % interval of its gain over images is above 0.",
        "",
        "| heat map | held-out IoU, mean over classes |",
        "|---|---|",
        *(f"| {name} | {value:.4f} |" for name, value in scores),
    ]


def class_section(found: Fit) -> list[str]:
    """List the threshold of each class."""
    return [
        "",
        "## Classes",
        "",
        "| class | threshold | IoU | images | left out |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {one.threshold:.2f} ({one.low:.2f} to {one.high:.2f}) | {one.iou:.3f} |"
            f" {one.n} | {one.left_out} |"
            for name, one in found.classes.items()
        ),
        *(f"| {name} | none: {reason} | | 0 | |" for name, reason in found.refused.items()),
    ]


def main() -> None:
    """Measure and print, and write the report and the figure where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=200, help="images per class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    spec = resolve(arguments.model)
    gathered = measure(spec, load_vocabulary("tiny"), arguments.n, arguments.seed)
    found = fit(gathered.curves, gathered.left_out, arguments.seed)
    figure = (arguments.out or Path("calibration.md")).with_suffix(".svg")
    text = report(gathered, found, spec, figure)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
        title = f"IoU of the masks of {spec.name} against the threshold, by class"
        write_curves(figure, title, found.classes)


if __name__ == "__main__":
    main()
