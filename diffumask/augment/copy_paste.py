"""Copy-paste: objects cut out of other images by their masks, set into one scene.

The idea is that of Ghiasi et al. 2021; it is not part of Wu et al. 2023.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from diffumask.dataset.pair import Pair, SizeHW, class_ids, resized
from diffumask.types import ClassMap, Image, Mask

LARGEST_COUNT = 4
SIZES = (0.15, 0.5)  # longer side of an object by the shorter side of the scene
LARGEST_ENLARGEMENT = 2.0
FLIP_PROBABILITY = 0.5
SOFT_KERNEL_PX = 3


@dataclass(frozen=True, slots=True)
class CutOut:
    """The pixels of one class of an image, in their bounding box."""

    image: Image
    mask: Mask
    class_id: int


def copy_paste(
    pairs: Iterator[Pair], size_hw: SizeHW, rng: np.random.Generator, soft_edges: bool = True
) -> Pair:
    """Set up to four objects of the next pairs into the first, each before those set earlier.

    An object is all that one random class covers in its image, resized, flipped and moved at
    random; its centre lies in the scene. A pair without any class gives no object. Soft edges
    blend the outermost pixels of an object with the scene; its labels are hard in any case.
    """
    scene = resized(next(pairs), size_hw)
    image, class_map = scene.image.copy(), scene.class_map.copy()
    for _ in range(rng.integers(1, LARGEST_COUNT + 1)):
        found = cut_out(next(pairs), rng)
        if found is None:
            continue
        found = _rescaled(found, rng.uniform(*SIZES) * min(size_hw))
        if rng.random() < FLIP_PROBABILITY:
            found = CutOut(found.image[:, ::-1], found.mask[:, ::-1], found.class_id)
        centre_yx = rng.integers(size_hw)
        top, left = (int(c) - s // 2 for c, s in zip(centre_yx, found.mask.shape, strict=True))
        paste(image, class_map, found, (top, left), soft_edges)
    return Pair(image, class_map)


def cut_out(pair: Pair, rng: np.random.Generator) -> CutOut | None:
    """Cut a random class out of a pair; None where there is no class."""
    present = class_ids(pair.class_map)
    if not present:
        return None
    class_id = int(rng.choice(present))
    mask = pair.class_map == class_id
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = (slice(top, top + height), slice(left, left + width))
    return CutOut(pair.image[box], mask[box], class_id)


def paste(
    image: UInt8[np.ndarray, "h w 3"],
    class_map: ClassMap,
    found: CutOut,
    top_left: tuple[int, int],
    soft_edges: bool,
) -> None:
    """Set an object into a scene, in place; what lies outside of the scene is cut off."""
    rows, object_rows = _overlap(top_left[0], found.mask.shape[0], class_map.shape[0])
    columns, object_columns = _overlap(top_left[1], found.mask.shape[1], class_map.shape[1])
    inside = (object_rows, object_columns)
    mask = found.mask[inside]
    behind = image[rows, columns]
    above = found.image[inside]
    if soft_edges:
        opacity = _opacity(found.mask)[inside][..., None]
        above = np.rint(opacity * above + (1 - opacity) * behind).astype(np.uint8)
    behind[mask] = above[mask]
    class_map[rows, columns][mask] = found.class_id


def _rescaled(found: CutOut, longer_side_px: float) -> CutOut:
    """Resize a cut-out to its longer side, by 2 at most; thin parts of its mask can vanish."""
    height, width = found.mask.shape
    scale = min(longer_side_px / max(height, width), LARGEST_ENLARGEMENT)
    size_hw = (max(1, round(scale * height)), max(1, round(scale * width)))
    pair = resized(Pair(found.image, found.mask.view(np.uint8)), size_hw)
    return CutOut(pair.image, pair.class_map.view(bool), found.class_id)


def _opacity(mask: Mask) -> np.ndarray:
    """Compute how much of an object hides the scene: 1 inside, less at its edge, 0 outside."""
    kernel = (SOFT_KERNEL_PX, SOFT_KERNEL_PX)
    plane = mask.astype(np.float32)
    opacity = cv2.GaussianBlur(plane, kernel, 0, borderType=cv2.BORDER_CONSTANT) * plane
    return opacity / max(opacity.max(), np.finfo(np.float32).tiny)  # one pixel stays opaque


def _overlap(start: int, length: int, side: int) -> tuple[slice, slice]:
    """Return the span of a side that an object covers, and the same span of the object."""
    first, last = max(start, 0), min(start + length, side)
    return slice(first, last), slice(first - start, last - start)
