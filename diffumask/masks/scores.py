"""How far a mask can be trusted, told without a truth: in [0, 1], higher is better."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from diffumask.metrics import iou
from diffumask.types import Heat, Mask

STABILITY_STEP = 0.05
TYPICAL_AREA = (0.02, 0.8)  # shares of the image between which the area of an object is ordinary


def score(
    heats: Float32[np.ndarray, "word h w"],
    thresholds: Sequence[float],
    rough: UInt8[np.ndarray, "h w"],
    labels: UInt8[np.ndarray, "h w"],
) -> Mapping[str, float]:
    """Return the scores of an item; with several words each is that of the worst word.

    `rough` and `labels` are 1 + the index of a word before and after refinement, 0 background.
    A word without a pixel has the score 0 in all but `border`.
    """
    per_word = [
        {
            "stability": stability(heat, threshold),
            "contrast": contrast(heat, labels == index),
            "agreement": iou(rough == index, labels == index) if (labels == index).any() else 0.0,
            "area": area(labels == index),
            "border": border(labels == index),
        }
        for index, (heat, threshold) in enumerate(zip(heats, thresholds, strict=True), start=1)
    ]
    return {name: round(min(one[name] for one in per_word), 6) for name in per_word[0]}


def stability(heat: Heat, threshold: float) -> float:
    """Return the IoU of the masks at a slightly lower and a slightly higher threshold."""
    lower, higher = heat > max(threshold - STABILITY_STEP, 0), heat > threshold + STABILITY_STEP
    return iou(lower, higher) if lower.any() else 0.0


def contrast(heat: Heat, mask: Mask) -> float:
    """Return the mean heat inside less that outside; 0 without an inside or an outside."""
    if not mask.any() or mask.all():
        return 0.0
    return max(0.0, float(heat[mask].mean() - heat[~mask].mean()))


def area(mask: Mask) -> float:
    """Return 1 for an ordinary size, less the nearer the object is to nothing or to everything."""
    low, high = TYPICAL_AREA
    share = float(mask.mean())
    return min(1.0, share / low, (1 - share) / (1 - high))


def border(mask: Mask) -> float:
    """Return the share of the pixels at the border of the image that are not of the object."""
    edges = [mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]
    return 1.0 - float(np.concatenate(edges).mean())
