"""Connected components of a mask."""

import numpy as np
from jaxtyping import Int32

from diffumask.types import Heat, Mask

LARGE = 0.01  # share of the image from which a component is no detail


def drop_small(mask: Mask, min_area_px: float) -> Mask:
    """Drop the 4-connected components of fewer than `min_area_px` pixels."""
    labels = _components(mask)
    area_px = np.bincount(labels.ravel())
    return mask & (area_px >= min_area_px)[labels]


def drop_cool(mask: Mask, heat: Heat, least_warmth: float) -> Mask:
    """Drop the 4-connected components whose mean heat is below a share of the warmest one's.

    The warmest is looked for among those of at least LARGE of the image, if there are any.
    """
    labels = _components(mask)
    count = int(labels.max(initial=0))
    area_px = np.bincount(labels.ravel(), minlength=count + 1)
    warmth = np.bincount(labels.ravel(), heat.ravel(), count + 1) / np.maximum(area_px, 1)
    large = (area_px >= LARGE * mask.size) & (np.arange(count + 1) > 0)
    if not large.any():
        return mask
    return mask & (warmth >= least_warmth * warmth[large].max())[labels]


def _components(mask: Mask) -> Int32[np.ndarray, "h w"]:
    from scipy import ndimage  # it takes a while to import

    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels
