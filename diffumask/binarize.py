"""Heat map to mask: a threshold, then the removal of specks."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from diffumask.types import Heat, Mask

# Each finds the threshold of one heat map; what lies above it is foreground.
METHODS: dict[str, Callable[[Heat], float]] = {
    "otsu": lambda heat: float(threshold_otsu(heat)),
}


def binarize(heat: Heat, threshold: float | str, min_area: float = 0.002) -> Mask:
    """Return where a heat map lies above a threshold, without small components.

    `threshold` is a number in [0, 1] or the name of a method that finds one ("otsu").
    `min_area` is the share of the image below which a component (4-connected) is dropped. A heat
    map that is 0 everywhere gives an empty mask. Raises `ValueError` for values out of range and
    for unknown methods.
    """
    if not 0 <= min_area <= 1:
        raise ValueError(f"expected a min_area in [0, 1], got {min_area}")
    mask = heat > find_threshold(heat, threshold)
    return drop_small(mask, min_area * mask.size)


def find_threshold(heat: Heat, threshold: float | str) -> float:
    """Return a fixed threshold as it is, or let the method of that name find one."""
    if isinstance(threshold, str):
        if threshold not in METHODS:
            raise ValueError(f"expected a number or one of {list(METHODS)}, got {threshold!r}")
        return METHODS[threshold](heat)
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold in [0, 1], got {threshold}")
    return threshold


def drop_small(mask: Mask, min_area_px: float) -> Mask:
    """Drop the 4-connected components of fewer than `min_area_px` pixels."""
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    area_px = np.bincount(labels.ravel())
    return mask & (area_px >= min_area_px)[labels]
