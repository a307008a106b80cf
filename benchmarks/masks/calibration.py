"""Does a calibrated table make better masks than the default, and how many masks does it take?

All masks are those that are written: after competition, refined, without specks. Images of `tiny`
are judged by the oracle, whose masks stand for those that a user would draw. Prompts, seeds and
settings are those of `diffumask generate`; the tables are those of `diffumask calibrate
--reference transformers:benchmarks/oracle`, each judged on images that it was not fitted to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from benchmarks.judges.oracle import FOLDER, MIN_AREA
from benchmarks.report import Picture, Report, table, tell
from benchmarks.sampling import BATCH_SIZE, names_of, prompts_of, settings_of
from diffumask.calibration.cases import Case, Gathered, gather
from diffumask.calibration.file import named
from diffumask.calibration.fit import (
    AUTO,
    N_FOLDS,
    Curves,
    CurvesOf,
    Fit,
    best_number,
    fit,
    held_out_ious,
    pick,
)
from diffumask.calibration.plot import write_curves
from diffumask.calibration.references import Known, find_reference
from diffumask.calibration.sampled import Job, sampled_cases
from diffumask.calibration.setting import Setting
from diffumask.errors import InputError
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.proof.estimates import estimate

MASK_COUNTS = (5, 10, 20, 50)
N_DRAWS = 50

Values = Float64[np.ndarray, " item"]


@dataclass(frozen=True, slots=True)
class Gained:
    """IoU gained on other images by thresholds of few masks, the mean over some classes."""

    n_masks: int
    n_classes: int
    mean: float
    low: float  # 95 of 100 draws gain more
    taken: float  # share of draws that took a number


def measure(
    spec: ModelSpec, vocabulary: Vocabulary, names: Sequence[str], n: int, run_seed: int
) -> Gathered:
    """Sample `n` images of every class and compare their masks with what the oracle sees."""
    class_ids = {entry.name: entry.class_id for entry in vocabulary.classes}
    known = Known(class_ids, dict.fromkeys(class_ids, ()), frozenset())
    jobs = (
        Job(str(place), prompt, seed)
        for place, (prompt, seed) in enumerate(prompts_of(vocabulary, names, range(n), run_seed))
    )
    cases = sampled_cases(load(spec), jobs, settings_of(spec, vocabulary), BATCH_SIZE)
    oracle = find_reference(f"transformers:{FOLDER}", known)
    return gather(_told(cases, n * len(names)), oracle, names, MIN_AREA)


def _told(cases: Iterator[Case], total: int) -> Iterator[Case]:
    for count, case in enumerate(cases, start=1):
        yield case
        if not count % BATCH_SIZE:
            tell(f"{count}/{total} images")


def held_out_tables(gathered: Gathered, seed: int = 0) -> dict[str, Values]:
    """Return the IoU of each item of each class by the table of the items of other folds.

    Setting and thresholds are fitted anew for each fold, as `calibrate` fits them; a class that it
    refuses has the default.
    """
    rng = np.random.default_rng(seed)
    first = gathered.curves[0]
    fold_of = {name: rng.permutation(len(one)) % N_FOLDS for name, one in first.items()}
    ious = {name: one[:, AUTO].copy() for name, one in first.items()}
    for fold in range(N_FOLDS):
        others = [
            {name: one[fold_of[name] != fold] for name, one in of_class.items()}
            for of_class in gathered.curves
        ]
        try:
            found = fit(others, gathered.left_out, seed)
        except InputError:
            continue
        for name, one in found.classes.items():
            curves = gathered.curves[found.setting][name]
            held_out = fold_of[name] == fold
            column = AUTO if one.threshold is None else 1 + one.thresholds.index(one.threshold)
            ious[name][held_out] = curves[held_out, column]
    return ious


def compare(gathered: Gathered, seed: int) -> list[Sequence[object]]:
    """Return a row for each way to find a threshold: IoU of held-out items, less the default's."""
    of_class = gathered.curves[0]
    classes = [name for name, one in of_class.items() for _ in one]
    every = np.concatenate(list(of_class.values()))

    def by_class(choose: Callable[[Curves], int]) -> Values:
        return np.concatenate([held_out_ious(one, choose, seed) for one in of_class.values()])

    ways = {
        "the default, found for each image": every[:, AUTO],
        "what `calibrate` writes": np.concatenate(list(held_out_tables(gathered, seed).values())),
        "the same without other settings": by_class(pick),
        "a number for each class, whether sure or not": by_class(best_number),
        "one number for all classes": held_out_ious(every, best_number, seed),
        "best of each image (no method knows it)": every.max(1),
    }
    return [
        (name, estimate(ious, classes, seed), estimate(ious - every[:, AUTO], classes, seed).signed)
        for name, ious in ways.items()
    ]


def gained_by_few(curves: Curves, n_masks: int, seed: int = 0) -> Float64[np.ndarray, "draw 2"]:
    """Return the IoU that thresholds of a few items gain on the others, and if one is a number.

    The few are drawn again and again.
    """
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(N_DRAWS):
        shuffled = rng.permutation(curves)
        column = pick(shuffled[:n_masks], seed)
        others = shuffled[n_masks:].mean(0)
        draws.append((others[column] - others[AUTO], column != AUTO))
    return np.array(draws, float)


def study_few(of_class: CurvesOf) -> list[Gained]:
    """Try numbers of masks on all classes that have twice as many items."""
    rows = []
    for n_masks in MASK_COUNTS:
        draws = [gained_by_few(c, n_masks) for c in of_class.values() if len(c) >= 2 * n_masks]
        if draws:
            gained, taken = np.moveaxis(np.array(draws), -1, 0)
            low = np.quantile(gained, 0.05, axis=1).mean()
            rows.append(Gained(n_masks, len(draws), gained.mean(), low, taken.mean()))
    return rows


def describe(setting: Setting) -> str:
    """Name what distinguishes a setting from the default."""
    default, changes = Setting(), []
    for key in setting.__slots__:
        value = getattr(setting, key)
        if value != getattr(default, key):
            shown = ", ".join(f"1/{factor}" for factor in value) if key == "weights" else value
            changes.append(f"{key.replace('_', ' ')} {shown}")
    return "; ".join(changes) or "default"


def few_table(of_class: CurvesOf) -> list[str]:
    """Say how much IoU is gained with few masks."""
    rows = [
        (one.n_masks, one.n_classes, f"{one.mean:+.4f}", f"{one.low:+.4f}", f"{one.taken:.0%}")
        for one in study_few(of_class)
    ]
    head = ("masks", "classes", "gain, mean", "gain, 5th percentile", "numbers taken")
    return [
        "## How many masks are enough?",
        "",
        f"A few images of a class are drawn {N_DRAWS} times; the threshold that they give is",
        "compared with the default on the other images of the class. Figures are means over",
        "classes with at least twice as many images.",
        "",
        *table(head, rows),
    ]


def setting_table(gathered: Gathered, found: Fit) -> list[str]:
    """Say how well each setting does on held-out items."""
    rows = []
    for setting, curves in zip(gathered.settings, gathered.curves, strict=True):
        scores = [held_out_ious(curves[name]).mean() for name in found.classes]
        rows.append((describe(setting), f"{np.mean(scores):.4f}"))
    return [
        "## Settings",
        "",
        f"Chosen: {describe(gathered.settings[found.setting])}. Another than the first is chosen",
        "only where the 95 % interval of its gain over images is above 0.",
        "",
        *table(("setting", "held-out IoU, mean over classes"), rows),
    ]


def class_table(found: Fit) -> list[str]:
    """List the threshold of each class."""
    rows: list[Sequence[object]] = []
    for name, one in found.classes.items():
        best = f"{one.low:.2f} to {one.high:.2f}"
        ious = f"{one.iou:.3f}", f"{one.default_iou:.3f}"
        rows.append((name, named(one.threshold), best, *ious, one.n, one.left_out))
    rows += [(name, f"none: {reason}", *[""] * 5) for name, reason in found.refused.items()]
    head = ("class", "threshold", "best number", "IoU", "by default", "images", "left out")
    return ["## Classes", "", *table(head, rows)]


def main(
    model: str = "tiny",
    n: Annotated[int, "images per class"] = 50,
    classes: Annotated[str, "names, by comma; all without"] = "",
    seed: int = 0,
) -> Report:
    """Measure, and write all tables."""
    spec, vocabulary = resolve(model), load_vocabulary("tiny")
    names = classes.split(",") if classes else names_of(vocabulary)
    gathered = measure(spec, vocabulary, names, n, seed)
    found = fit(gathered.curves, gathered.left_out, seed)
    lines = [
        "## Does a table pay?",
        "",
        "IoU of masks as they are written, mean over classes, on images that nothing was fitted to",
        f"({N_FOLDS} folds). Brackets are 95 % bootstrap intervals; differences are paired.",
        "",
        *table(("threshold", "IoU", "less the default"), compare(gathered, seed)),
        "",
        *few_table(gathered.curves[0]),
        "",
        *setting_table(gathered, found),
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
