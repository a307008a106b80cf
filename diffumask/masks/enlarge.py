"""Heat of a grid to heat of an image."""

import cv2
import numpy as np

from diffumask.errors import InputError
from diffumask.types import GridHeat, Heat

from .area_mean import area_mean


def enlarge(heat: GridHeat, size_hw: tuple[int, int]) -> Heat:
    """Resize a heat map bicubically to the image, clip it at 0 and scale it to a peak of 1.

    Where the image is the smaller one it is averaged. A map of zeros stays. Raises InputError for
    one that is not finite.
    """
    if not np.isfinite(heat).all():
        raise InputError("expected finite heat, got nan or infinity; try dtype float32")
    h, w = size_hw
    coarse = area_mean(heat, size_hw)
    resized = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC).clip(min=0)
    peak = resized.max(initial=0)
    return (resized / peak if peak > 0 else resized).astype(np.float32)
