"""Means over classes with bootstrap intervals, paired where two methods saw the same images.

Every figure is a mean over classes of the mean over a class's items. The bootstrap draws classes,
and then the items of each drawn class, as what is claimed is said of other classes too. Its draws
are rows of weights: all figures of a draw are one product.
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
    """Return the weights of the items when classes are drawn again, and then items of each.

    A class that is drawn twice has items drawn for each time.
    """
    rng = np.random.default_rng(seed)
    names, of_item = np.unique(classes, return_inverse=True)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    weights = np.zeros((count, len(of_item)))
    for index in range(len(names)):
        items = np.flatnonzero(of_item == index)
        shares = np.full(len(items), 1 / len(items))
        drawn = rng.multinomial(times[:, index] * len(items), shares)
        weights[:, items] = drawn / (len(items) * len(names))
    return weights


def estimate(values: Values, classes: Sequence[str], seed: int = 0, count: int = COUNT) -> Estimate:
    """Return the mean over classes with its interval; items whose value is NaN are left out.

    Of two methods, give the difference item by item: the interval is then the paired one. No value
    at all gives NaN.
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
