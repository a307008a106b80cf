"""Which threshold suits which class, and how many masks does it take to know? With a figure.

Images of `tiny` are judged by the oracle, whose masks stand for those that a user would draw.
Prompts, seeds and settings are those of `diffumask generate`; the thresholds are those of
`diffumask calibrate --reference transformers:benchmarks/oracle`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from benchmarks.judges.oracle import FOLDER, MIN_AREA
from benchmarks.report import Picture, Report, fields, table, tell
from benchmarks.sampling import BATCH_SIZE, names_of, prompts_of, settings_of
from diffumask.calibration.cases import Case, Combination, Gathered, gather
from diffumask.calibration.fit import THRESHOLDS, Curves, CurvesOf, Fit, fit, held_out_ious
from diffumask.calibration.plot import write_curves
from diffumask.calibration.references import Known, find_reference
from diffumask.calibration.sampled import Job, sampled_cases
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary

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
    names = names_of(vocabulary)
    class_ids = {entry.name: entry.class_id for entry in vocabulary.classes}
    known = Known(class_ids, dict.fromkeys(class_ids, ()), frozenset())
    jobs = (
        Job(str(place), prompt, seed)
        for place, (prompt, seed) in enumerate(prompts_of(vocabulary, names, range(n), run_seed))
    )
    settings = settings_of(spec, vocabulary)
    cases = sampled_cases(load(spec), jobs, settings, BATCH_SIZE, combine_all=True)
    oracle = find_reference(f"transformers:{FOLDER}", known)
    return gather(_told(cases, n * len(names)), oracle, names, MIN_AREA)


def _told(cases: Iterator[Case], total: int) -> Iterator[Case]:
    for count, case in enumerate(cases, start=1):
        yield case
        if not count % BATCH_SIZE:
            tell(f"{count}/{total} images")


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


def few_table(of_class: CurvesOf) -> list[str]:
    """Say how much IoU is lost with few masks."""
    rows = [
        (one.n_masks, one.n_classes, f"{one.mean:.4f}", f"{one.high:.4f}", f"{one.spread:.3f}")
        for one in study_few(of_class)
    ]
    head = ("masks", "classes", "IoU lost, mean", "IoU lost, 95th percentile", "threshold, s.d.")
    return [
        "## How many masks are enough?",
        "",
        f"A few images of a class are drawn {N_DRAWS} times; their best threshold is applied to",
        "the other images of the class, and compared there with the best threshold of all. Figures",
        "are means over classes with at least twice as many images.",
        "",
        *table(head, rows),
    ]


def combination_table(gathered: Gathered, found: Fit) -> list[str]:
    """Say how well each combination does on held-out items."""
    scores = {}
    for way, curves in zip(gathered.combinations, gathered.curves, strict=True):
        ious = [held_out_ious(curves[name]).mean() for name in found.classes]
        scores[describe(way)] = f"{np.mean(ious):.4f}"
    return [
        "## Merge and grids",
        "",
        f"Chosen: {describe(gathered.combinations[found.setting])}. Another than the first is",
        "chosen only where the 95 % interval of its gain over images is above 0.",
        "",
        *fields(scores, ("heat map", "held-out IoU, mean over classes")),
    ]


def class_table(found: Fit) -> list[str]:
    """List the threshold of each class."""
    rows: list[Sequence[object]] = []
    for name, one in found.classes.items():
        threshold = f"{one.threshold:.2f} ({one.low:.2f} to {one.high:.2f})"
        rows.append((name, threshold, f"{one.iou:.3f}", one.n, one.left_out))
    rows += [(name, f"none: {reason}", "", 0, "") for name, reason in found.refused.items()]
    return ["## Classes", "", *table(("class", "threshold", "IoU", "images", "left out"), rows)]


def main(model: str = "tiny", n: Annotated[int, "images per class"] = 200, seed: int = 0) -> Report:
    """Measure, and write all tables."""
    spec = resolve(model)
    gathered = measure(spec, load_vocabulary("tiny"), n, seed)
    found = fit(gathered.curves, gathered.left_out, seed)
    of_class = {name: gathered.curves[found.setting][name] for name in found.classes}
    thresholds = [one.threshold for one in found.classes.values()]
    compared = {name: f"{value:.3f}" for name, value in compare(of_class).items()}
    lines = [
        f"The best threshold runs from {min(thresholds):.2f} to {max(thresholds):.2f}. Bands and",
        "brackets are 95 % bootstrap intervals.",
        "",
        *few_table(of_class),
        "",
        "## Is a threshold for each class worth it?",
        "",
        *fields(compared, ("threshold", "IoU, mean over classes")),
        "",
        *combination_table(gathered, found),
        "",
        *class_table(found),
    ]
    facts = [
        f"{spec.num_inference_steps} steps, guidance {spec.guidance_scale}. The reference is the",
        f"oracle; images where it sees the class on less than {MIN_AREA:.0%} are left out.",
    ]
    title = f"IoU of the masks of {spec.name} against the threshold, by class"
    curves = partial(write_curves, title=title, classes=found.classes)
    picture = Picture(".svg", "IoU against threshold for each class", curves)
    return Report(f"Calibrated thresholds of `{spec.name}`", facts, lines, [picture])
