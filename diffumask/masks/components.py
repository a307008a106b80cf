"""Connected components of a mask."""

import numpy as np
from scipy import ndimage

from diffumask.types import Mask


def drop_small(mask: Mask, min_area_px: float) -> Mask:
    """Drop the 4-connected components of fewer than `min_area_px` pixels."""
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    area_px = np.bincount(labels.ravel())
    return mask & (area_px >= min_area_px)[labels]
