"""Connected components of a mask."""

import cv2
import numpy as np

from diffumask.types import Heat, Mask

LARGE = 0.01  # share of the image from which a component is no detail


def drop_small(mask: Mask, min_area_px: float) -> Mask:
    """Drop the 4-connected components of fewer than `min_area_px` pixels."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    is_kept = boxes[:, cv2.CC_STAT_AREA] >= min_area_px
    is_kept[0] = False  # all around them
    return mask if is_kept[1:].all() else is_kept[np.asarray(labels, np.int32)]


def drop_cool(mask: Mask, heat: Heat, least_warmth: float) -> Mask:
    """Drop the 4-connected components whose mean heat is below a share of the warmest one's.

    The warmest is looked for among those of at least LARGE of the image, if there are any.
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    if count <= 2:  # what is around them, and the warmest
        return mask
    area_px = np.bincount(labels.ravel(), minlength=count)
    warmth = np.bincount(labels.ravel(), heat.ravel(), count) / np.maximum(area_px, 1)
    large = (area_px >= LARGE * mask.size) & (np.arange(count) > 0)
    if not large.any():
        return mask
    return mask & (warmth >= least_warmth * warmth[large].max())[labels]
