"""Means over classes with bootstrap intervals, paired where two methods saw the same images.

Every figure is a mean over classes of the mean over a class's items. The bootstrap resamples the
items of each class, and its draws are rows of weights: all figures of a draw are one product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

COUNT = 2000  # bootstrap draws
LEVEL = 0.95

Values = Float64[np.ndarray, " item"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over classes and the interval of its bootstrap."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def signed(self) -> str:
        """The same with signs, for a difference."""
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low > 0


def class_weights(classes: Sequence[str]) -> Values:
    """Return the weight of each item in the mean over classes; they sum to 1."""
    names, of_item, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return 1 / (len(names) * counts[of_item])


@lru_cache(maxsize=4)
def resampled_weights(
    classes: tuple[str, ...], seed: int, count: int = COUNT
) -> Float64[np.ndarray, "draw item"]:
    """Return the weights of the items when each class is drawn again, with replacement."""
    rng = np.random.default_rng(seed)
    names, of_item = np.unique(classes, return_inverse=True)
    weights = np.zeros((count, len(of_item)))
    for index in range(len(names)):
        items = np.flatnonzero(of_item == index)
        drawn = rng.multinomial(len(items), np.full(len(items), 1 / len(items)), size=count)
        weights[:, items] = drawn / (len(items) * len(names))
    return weights


def estimate(values: Values, classes: Sequence[str], seed: int, count: int = COUNT) -> Estimate:
    """Return the mean over classes with its interval; items whose value is NaN are left out.

    Of two methods, give the difference item by item: the interval is then the paired one.
    """
    kept = ~np.isnan(values)
    if not kept.any():
        return Estimate(np.nan, np.nan, np.nan)
    of_kept = tuple(name for name, keep in zip(classes, kept, strict=True) if keep)
    drawn = resampled_weights(of_kept, seed, count) @ values[kept]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(class_weights(of_kept) @ values[kept]), float(low), float(high))


def by_class(values: Values, classes: Sequence[str]) -> Mapping[str, float]:
    """Return the mean over the items of each class, in the order of the alphabet."""
    of_item = np.array(classes)
    means = {name: values[of_item == name] for name in sorted(set(classes))}
    return {
        name: float(np.nanmean(of_class)) if np.isfinite(of_class).any() else np.nan
        for name, of_class in means.items()
    }


def worst_class(values: Values, classes: Sequence[str]) -> tuple[str, float]:
    """Return the class with the lowest mean, and that mean."""
    means = by_class(values, classes)
    known = {name: mean for name, mean in means.items() if not np.isnan(mean)}
    worst = min(known, key=lambda name: known[name])
    return worst, known[worst]


def best_column(curves: Float64[np.ndarray, "item column"], classes: Sequence[str]) -> int:
    """Return the column with the best mean over classes."""
    return int((class_weights(classes) @ curves).argmax())


def calibrated_columns(
    curves: Float64[np.ndarray, "item column"], classes: Sequence[str]
) -> list[int]:
    """Return for each item the best column of its class on the other half of the class.

    The halves are the even and the odd items of a class, so no item chooses for itself. A class
    of one item has no other half: it takes the column that is best for all other classes.
    """
    of_item = np.array(classes)
    chosen = np.zeros(len(of_item), int)
    for name in set(classes):
        items = np.flatnonzero(of_item == name)
        halves = items[0::2], items[1::2]
        for half, other in (halves, halves[::-1]):
            if len(other):
                chosen[half] = curves[other].mean(0).argmax()
            elif len(half):
                rest = of_item != name
                of_rest = list(of_item[rest])
                chosen[half] = best_column(curves[rest], of_rest) if of_rest else 0
    return chosen.tolist()
