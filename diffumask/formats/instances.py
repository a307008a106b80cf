"""Instances: numbered in one map, as VOC's SegmentationObject holds them, and their boxes."""

import numpy as np
from jaxtyping import UInt8

from diffumask.types import IGNORE_ID, ClassMap, Mask

from .items import masks_of

MAX_INSTANCES = IGNORE_ID - 1


def instance_map(
    class_map: ClassMap, instances: bool = True
) -> tuple[UInt8[np.ndarray, "h w"], list[int]]:
    """Number the components of all classes from 1, and return the class id of each number.

    Without `instances` all pixels of a class have one number. 0 is background and 255 ignore, so
    that 254 instances fit; of more the smallest become 255.
    """
    found = list(masks_of(class_map, instances))
    areas_px = np.array([np.count_nonzero(mask) for _, mask in found], np.int64)
    kept = set(np.argsort(-areas_px, kind="stable")[:MAX_INSTANCES].tolist())
    numbers = np.where(class_map == IGNORE_ID, IGNORE_ID, 0).astype(np.uint8)
    class_ids: list[int] = []
    for position, (class_id, mask) in enumerate(found):
        if position in kept:
            class_ids.append(class_id)
        numbers[mask] = len(class_ids) if position in kept else IGNORE_ID
    return numbers, class_ids


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of what a mask covers: edges, the last two beyond it."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
