"""Thresholds of classes from a few masks: IoU curves, their best threshold and how sure it is.

The first column of a curve is `AUTO`, the threshold that is found for each image by default; the
others are those of `THRESHOLDS`. A number is taken only where it surely beats `AUTO` on items that
it was not fitted to, and another setting only where it surely beats the first, so that what is
fitted costs nothing beyond noise against the default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64

from diffumask.errors import InputError

# Wu et al. 2023 show 0.30 to 0.54 (their gamma). Every step is refined, with its band, for each
# image and setting; between them 20 masks cannot tell, whose best threshold varies by 0.02.
THRESHOLDS = np.arange(0.10, 0.775, 0.05).round(2)
AUTO = 0
N_RESAMPLES = 1000
CONFIDENCE = 0.95
N_FOLDS = 5
DECIMALS = 4  # of what is kept; 200 items say no more

Curves = Float64[np.ndarray, "item candidate"]
CurvesOf = Mapping[str, Curves]  # by class
Values = Float64[np.ndarray, " item"]


@dataclass(frozen=True, slots=True)
class ClassThreshold:
    """The threshold of a class, None the default's, and the curve that it was chosen from.

    `low` and `high` are the bootstrap interval of the number that is best. `iou` is the mean over
    the `n` items that were counted, as masks are made by the threshold, and `default_iou` that of
    default masks; `left_out` items did not show the class. `ious` are those at `thresholds`.
    """

    threshold: float | None
    low: float
    high: float
    iou: float
    default_iou: float
    n: int
    left_out: int
    thresholds: tuple[float, ...]
    ious: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """The chosen setting, by its index, the thresholds in it, and why some classes have none."""

    setting: int
    classes: Mapping[str, ClassThreshold]
    refused: Mapping[str, str]


def calibrate(
    curves: Curves,
    thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS,
    left_out: int = 0,
    seed: int = 0,
) -> ClassThreshold:
    """Find the threshold of a class: that of `pick`, with the interval of the best number.

    The interval holds the middle 95 % of the best numbers of resampled items; that of a single
    item, which tells nothing of others, is all of them. The curves count as the default's. Raises
    InputError where there is no item, or no overlap with the truth at any threshold.
    """
    n_items = len(curves)
    if not n_items:
        raise InputError(
            "expected a reference that shows the object in some images, got none with and "
            f"{left_out} without it"
        )
    mean = curves.mean(0)
    if not mean.any():
        raise InputError(
            f"expected masks that overlap with the reference, got none of {n_items} at any "
            "threshold; check that its masks are of this class and of these images"
        )
    n_drawn = np.random.default_rng(seed).multinomial(
        n_items, np.full(n_items, 1 / n_items), N_RESAMPLES
    )
    bests = thresholds[(n_drawn @ curves[:, AUTO + 1 :]).argmax(1)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(bests, [tail, 1 - tail], method="inverted_cdf")
    if n_items == 1:
        low, high = thresholds[0], thresholds[-1]
    column = pick(curves, seed)
    return ClassThreshold(
        threshold=None if column == AUTO else _rounded(thresholds[column - 1]),
        low=_rounded(low),
        high=_rounded(high),
        iou=_rounded(mean[column]),
        default_iou=_rounded(mean[AUTO]),
        n=n_items,
        left_out=left_out,
        thresholds=tuple(map(_rounded, thresholds)),
        ious=tuple(map(_rounded, mean[AUTO + 1 :])),
    )


def best_number(curves: Curves) -> int:
    """Return the column of the number whose mean over items is highest; of equals the lowest."""
    return AUTO + 1 + int(curves[:, AUTO + 1 :].mean(0).argmax())


def pick(curves: Curves, seed: int = 0) -> int:
    """Return the column of the best number where that surely beats `AUTO`, else `AUTO`.

    It does where the 95 % interval of its gain on held-out items (Student's t) is above 0.
    """
    gains = held_out_ious(curves, best_number, seed) - curves[:, AUTO]
    return best_number(curves) if _is_sure(gains) else AUTO


def held_out_ious(
    curves: Curves, choose_column: Callable[[Curves], int] = pick, seed: int = 0
) -> Values:
    """Return the IoU of each item in the column that is chosen from the items of other folds.

    Folds are drawn at random, as equal as can be. A single item chooses for itself.
    """
    n_items = len(curves)
    n_folds = min(N_FOLDS, n_items)
    fold_of = np.random.default_rng(seed).permutation(n_items) % max(n_folds, 1)
    ious = np.empty(n_items)
    for fold in range(n_folds):
        held_out = fold_of == fold
        others = curves if held_out.all() else curves[~held_out]
        ious[held_out] = curves[held_out, choose_column(others)]
    return ious


def choose(curves: Sequence[CurvesOf], seed: int = 0) -> int:
    """Return the index of the setting whose held-out IoU is best, by cross-validation.

    `curves` are those of each setting, of the same items in the same order; every item weighs the
    same. The first setting stays unless the 95 % interval of another's gain over it (Student's t,
    over items) is above 0, as with few items the best of many is so by chance.
    """
    ious = np.stack(
        [
            np.concatenate([held_out_ious(one, seed=seed) for one in of_class.values()])
            for of_class in curves
        ]
    )
    gains = ious - ious[0]
    return int(np.argmax([of_one.mean() if _is_sure(of_one) else 0.0 for of_one in gains]))


def fit(curves: Sequence[CurvesOf], left_out: Mapping[str, int], seed: int = 0) -> Fit:
    """Choose a setting by cross-validation and calibrate every class in it.

    `left_out` counts the items of each class that the curves lack; the first setting is the
    default's. Raises InputError where `calibrate` refuses all classes.
    """
    setting = choose(curves, seed)
    classes: dict[str, ClassThreshold] = {}
    refused: dict[str, str] = {}
    for name, one in curves[setting].items():
        try:
            found = calibrate(one, left_out=left_out[name], seed=seed)
        except InputError as error:
            refused[name] = str(error)
        else:
            default_iou = _rounded(curves[0][name][:, AUTO].mean())
            classes[name] = replace(found, default_iou=default_iou)
    if not classes:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
    return Fit(setting, classes, refused)


def _is_sure(gains: Values) -> bool:
    """Whether the interval of the mean gain is above 0; that of one item tells nothing."""
    n_items = len(gains)
    if n_items < 2:
        return False
    from scipy.special import stdtrit  # it takes a while to import

    error = gains.std(ddof=1) / np.sqrt(n_items)
    return bool(gains.mean() > stdtrit(n_items - 1, (1 + CONFIDENCE) / 2) * error)


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)
