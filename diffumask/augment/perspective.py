"""Perspective transform: the image as if seen from another side (Wu et al. 2023, section 3.5)."""

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float64

from diffumask.dataset.pair import FILL_COLOUR, Pair, SizeHW, resized
from diffumask.types import IGNORE_ID

LARGEST_SHIFT = 0.15  # of a corner, by the side; our choice. From 0.25 on corners could cross

Homography = Float64[np.ndarray, "3 3"]


def perspective(pairs: Iterator[Pair], size_hw: SizeHW, rng: np.random.Generator) -> Pair:
    """Move the four corners of the first pair at random, in or out.

    What was outside of the image has the fill colour and the label 255.
    """
    return warped(resized(next(pairs), size_hw), random_homography(size_hw, rng))


def random_homography(size_hw: SizeHW, rng: np.random.Generator) -> Homography:
    """Draw the map from old to new pixel coordinates (x, y, 1), pixel centres being whole."""
    height, width = size_hw
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    moved = unit + rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, unit.shape).astype(np.float32)
    side_xy = np.array([width, height], np.float32)
    return cv2.getPerspectiveTransform(unit * side_xy - 0.5, moved * side_xy - 0.5)


def warped(pair: Pair, homography: Homography) -> Pair:
    """Warp a pair in its frame: the image between its pixels, the class map by the nearest."""
    height, width = pair.size_hw
    image = cv2.warpPerspective(
        pair.image, homography, (width, height), flags=cv2.INTER_LINEAR, borderValue=FILL_COLOUR
    )
    class_map = cv2.warpPerspective(
        pair.class_map, homography, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE_ID
    )
    return Pair(image, class_map)
