"""Thresholds of classes from a few masks: IoU curves, their best threshold and how sure it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8
from scipy.special import stdtrit

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID, Heat

# The candidates, called gamma by Wu et al. 2023, whose figure shows 0.30 to 0.54.
THRESHOLDS = np.arange(0.05, 0.955, 0.01).round(2)
N_RESAMPLES = 1000
CONFIDENCE = 0.95
N_FOLDS = 5
DECIMALS = 4  # of what is kept; 200 items say no more

Truth = UInt8[np.ndarray, "h w"]  # 0 background, 255 does not count, else the object
Curves = Float64[np.ndarray, "item threshold"]
CurvesOf = Mapping[str, Curves]  # by class


@dataclass(frozen=True, slots=True)
class ClassThreshold:
    """The best threshold of a class, with its bootstrap interval, and the curve it is the top of.

    `iou` is the mean over the `n` items that were counted, at that threshold; `left_out` items
    did not show the class. `ious` are those of the curve, at `thresholds`.
    """

    threshold: float
    low: float
    high: float
    iou: float
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


def iou_curve(
    heat: Heat, truth: Truth, thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS
) -> Float64[np.ndarray, " threshold"]:
    """Return the IoU of `heat > threshold` with the truth, at every one of rising thresholds.

    Pixels whose truth is 255 do not count; two empty masks agree fully (1.0). One pass over the
    pixels, whatever the number of thresholds. Raises InputError for heat that is not finite.
    """
    if not np.isfinite(heat).all():
        raise InputError("expected finite heat maps, got nan or infinity; try dtype float32")
    counted = truth != IGNORE_ID
    is_object = (truth != BACKGROUND_ID)[counted]
    # How many thresholds a pixel exceeds, compared in the precision of the heat as masks are.
    n_exceeded = np.searchsorted(thresholds.astype(heat.dtype), heat[counted])
    above = _at_least(n_exceeded, len(thresholds))
    hits = _at_least(n_exceeded[is_object], len(thresholds))
    union = above + np.count_nonzero(is_object) - hits
    return np.divide(hits, union, out=np.ones(len(thresholds)), where=union > 0)


def calibrate(
    curves: Curves,
    thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS,
    left_out: int = 0,
    seed: int = 0,
) -> ClassThreshold:
    """Find the threshold at which the mean curve of a class is highest; of equals the lowest.

    The interval holds the middle 95 % of the best thresholds of resampled items; that of a single
    item, which tells nothing of others, is all of them. Raises InputError where there is no item,
    or no overlap with the truth at any threshold.
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
            f"expected heat maps that overlap with the reference, got none of {n_items} at any "
            "threshold; check that its masks are of this class and of these images"
        )
    n_drawn = np.random.default_rng(seed).multinomial(
        n_items, np.full(n_items, 1 / n_items), N_RESAMPLES
    )
    bests = thresholds[(n_drawn @ curves).argmax(1)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(bests, [tail, 1 - tail], method="inverted_cdf")
    if n_items == 1:
        low, high = thresholds[0], thresholds[-1]
    best = int(mean.argmax())
    return ClassThreshold(
        threshold=round(float(thresholds[best]), DECIMALS),
        low=round(float(low), DECIMALS),
        high=round(float(high), DECIMALS),
        iou=round(float(mean[best]), DECIMALS),
        n=n_items,
        left_out=left_out,
        thresholds=_rounded(thresholds),
        ious=_rounded(mean),
    )


def held_out_ious(
    curves: Curves, n_folds: int = N_FOLDS, seed: int = 0
) -> Float64[np.ndarray, " item"]:
    """Return the IoU of each item at the threshold that is best for the items of other folds.

    Folds are drawn at random, as equal as can be. A single item is judged at its own best.
    """
    n_items = len(curves)
    n_folds = min(n_folds, n_items)
    fold_of = np.random.default_rng(seed).permutation(n_items) % max(n_folds, 1)
    ious = np.empty(n_items)
    for fold in range(n_folds):
        held_out = fold_of == fold
        others = curves if held_out.all() else curves[~held_out]
        ious[held_out] = curves[held_out, others.mean(0).argmax()]
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
    n_items = gains.shape[1]
    if n_items < 2:
        return 0
    errors = gains.std(axis=1, ddof=1) / np.sqrt(n_items)
    sure = gains.mean(axis=1) > stdtrit(n_items - 1, (1 + CONFIDENCE) / 2) * errors
    return int(np.where(sure, gains.mean(axis=1), 0).argmax())


def fit(curves: Sequence[CurvesOf], left_out: Mapping[str, int], seed: int = 0) -> Fit:
    """Choose a setting by cross-validation and calibrate every class in it.

    `left_out` counts the items of each class that the curves lack. Raises InputError where
    `calibrate` refuses all classes.
    """
    setting = choose(curves, seed)
    classes: dict[str, ClassThreshold] = {}
    refused: dict[str, str] = {}
    for name, one in curves[setting].items():
        try:
            classes[name] = calibrate(one, left_out=left_out[name], seed=seed)
        except InputError as error:
            refused[name] = str(error)
    if not classes:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
    return Fit(setting, classes, refused)


def _at_least(
    n_exceeded: Int64[np.ndarray, " pixel"], n_thresholds: int
) -> Int64[np.ndarray, " threshold"]:
    """Count for each threshold the pixels that exceed it."""
    histogram = np.bincount(n_exceeded, minlength=n_thresholds + 1)
    return histogram[::-1].cumsum()[::-1][1:]


def _rounded(values: Float[np.ndarray, " value"]) -> tuple[float, ...]:
    return tuple(values.round(DECIMALS).tolist())
