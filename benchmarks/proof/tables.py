"""The rows of synthetic_to_real.py and the tables that they fill."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.report import table
from diffumask.augment.compose import AugmentSettings

from .runs import NO_AUGMENTATION, SHARES, Run, Synthetic
from .world import ANNOTATIONS, CLASS_IDS, POOLS, SEEN, TESTS, UNSEEN

N_REAL = 250  # a fifth of the synthetic images, as in the paper
ABLATION_PER_CLASS = 40
REAL, HALF, SYNTHETIC, BOTH, ALL = (
    f"real, {N_REAL}",
    f"real, {N_REAL // 2}",
    "synthetic",
    f"synthetic + real, {N_REAL // 2}",
    f"synthetic + real, {N_REAL}",
)
Result = Mapping[str, Any]
Results = Mapping[str, Sequence[Result]]  # of each seed, by row

COUNTS = (15, 30, 60, POOLS["all"].per_class)
ADDED = ("splice", "blur", "occlude", "perspective", "copy_paste")


def _ablation(**changes: Any) -> Run:
    base = Synthetic(per_class=ABLATION_PER_CLASS, alpha=0.0)
    return Run(synthetic=replace(base, **changes))


def _augmented_up_to(count: int) -> AugmentSettings:
    added: dict[str, Any] = {name: getattr(SHARES, name) for name in ADDED[:count]}
    return replace(NO_AUGMENTATION, **added)


MAIN = {
    REAL: Run(real=N_REAL),
    SYNTHETIC: Run(synthetic=Synthetic()),
    BOTH: Run(real=N_REAL // 2, synthetic=Synthetic()),
    ALL: Run(real=N_REAL, synthetic=Synthetic()),
    HALF: Run(real=N_REAL // 2),
    f"{REAL}, augmented as the synthetic is": Run(real=N_REAL, real_augmentation=SHARES),
}
ZERO_SHOT = {
    "real masks of seen classes alone": Run(real=N_REAL, real_classes=SEEN),
    "real of seen + synthetic of unseen": Run(
        real=N_REAL, real_classes=SEEN, synthetic=Synthetic(classes=UNSEEN)
    ),
    "synthetic of all": MAIN[SYNTHETIC],
    "real of all (upper bound)": MAIN[REAL],
}
ABLATIONS = {
    "Annotation": {
        "ours": _ablation(),
        **{name: _ablation(annotation=name) for name in ANNOTATIONS},
    },
    "Prompts": {
        "plain class names": _ablation(pool="plain"),
        "up to two sub-classes": _ablation(pool="two sub-classes"),
        "all sub-classes": _ablation(),
    },
    "Share pruned by noise learning": {
        f"{alpha:.1f}": _ablation(alpha=alpha, per_class=POOLS["all"].per_class)
        for alpha in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7)
    },
    "Augmentation": {
        "none": _ablation(augmentation=NO_AUGMENTATION),
        **{
            f"+ {name.replace('_', '-')}": _ablation(augmentation=_augmented_up_to(count))
            for count, name in enumerate(ADDED, start=1)
        },
    },
    "Images of a class": {str(count): _ablation(per_class=count) for count in COUNTS},
}


def miou(ious: Mapping[str, float], names: Sequence[str] | None = None) -> float:
    """Return the mean over some classes; without names over all and background, as VOC does."""
    return float(np.nanmean([ious[name] for name in names or ious]))


def spread(values: Sequence[float]) -> str:
    """Write a mean over seeds with its 95 % interval by Student's t."""
    mean = float(np.mean(values))
    return f"{mean:.3f} ± {reach(values):.3f}" if len(values) > 1 else f"{mean:.3f}"


def reach(values: Sequence[float]) -> float:
    """Return half the 95 % interval of a mean by Student's t."""
    return float(stats.t.ppf(0.975, len(values) - 1)) * float(stats.sem(values))


def rows_table(results: Results) -> list[str]:
    """Make the table of mIoU by kind of test, beside what each row has more than the first.

    Differences are of the same seeds; one whose interval has both signs is called undecided.
    """
    reference = next(iter(results.values()))
    rows = []
    for name, of_seeds in results.items():
        scores = {kind: [miou(one[kind]) for one in of_seeds] for kind in TESTS}
        before = {kind: [miou(one[kind]) for one in reference] for kind in TESTS}
        steps = np.mean([one["time"]["steps"] for one in of_seeds])
        more = [difference(scores[kind], before[kind]) for kind in TESTS]
        rows.append([name, f"{steps:.0f}", *map(spread, scores.values()), *more])
    head = [f"mIoU, {kind}" for kind in TESTS] + [f"more than the first, {kind}" for kind in TESTS]
    return table(("trained on", "steps", *head), rows)


def difference(values: Sequence[float], before: Sequence[float]) -> str:
    """Write by how much values of some seeds are above those of the same seeds before."""
    gains = [one - other for one, other in zip(values, before, strict=True)]
    if not any(gains):
        return ""
    undecided = len(gains) < 2 or abs(float(np.mean(gains))) <= reach(gains)
    return f"{spread(gains)}{', undecided' if undecided else ''}"


def classes_table(results: Results, kind: str) -> list[str]:
    """Make the table of IoU by class, means over seeds."""
    names = ["background", *CLASS_IDS]
    rows = [
        [row, *(f"{np.mean([one[kind][name] for one in of_seeds]):.3f}" for name in names)]
        for row, of_seeds in results.items()
    ]
    return table(("trained on", *names), rows)


def zero_shot_table(results: Results) -> list[str]:
    """Make the table of seen and unseen classes and their harmonic mean."""
    columns = [f"{part}, {kind}" for kind in TESTS for part in ("seen", "unseen", "harmonic")]
    rows = []
    for row, of_seeds in results.items():
        cells = []
        for kind in TESTS:
            parts = [(miou(one[kind], SEEN), miou(one[kind], UNSEEN)) for one in of_seeds]
            harmonic = [2 * a * b / (a + b) if a + b else 0.0 for a, b in parts]
            cells += [spread([part[i] for part in parts]) for i in (0, 1)] + [spread(harmonic)]
        rows.append([row, *cells])
    return table(("trained on", *columns), rows)


def goals_table(results: Results) -> list[str]:
    """Make the table of the three goals, each by seed, so that the comparison is paired."""
    goals: dict[str, tuple[Callable[[Result, Result, Result, str], float], str]] = {
        "synthetic mIoU / real mIoU": (lambda r, s, _, k: miou(s[k]) / miou(r[k]), ">= 0.90"),
        "bird: synthetic - real": (lambda r, s, _, k: s[k]["bird"] - r[k]["bird"], ">= -0.03"),
        f"mIoU: {BOTH} - {REAL}": (lambda r, _, b, k: miou(b[k]) - miou(r[k]), ">= 0"),
    }
    rows = []
    for name, (figure, goal) in goals.items():
        cells = []
        for kind in TESTS:
            by_seed = zip(results[REAL], results[SYNTHETIC], results[BOTH], strict=True)
            values = [figure(real, synthetic, both, kind) for real, synthetic, both in by_seed]
            cells.append(spread([value for value in values if math.isfinite(value)]))
        rows.append([name, goal, *cells])
    return table(("", "goal", *TESTS), rows)
