"""Columns of thresholds, chosen by the truth of other items."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from diffumask.proof.estimates import class_weights


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
