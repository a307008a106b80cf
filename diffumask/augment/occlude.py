"""Occlusion: something stands before the scene (CutMix, Random Erasing; Wu et al. 2023, 3.5).

A class map tells what can be seen, so a pixel under an occluder loses its label: it becomes
background under a thing of no class, as is whatever a prompt does not name, and takes the label
of the other image under a piece of that. Kept labels would teach a network to see through things,
and 255 would not teach it that objects end there.
"""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from diffumask.dataset.pair import Pair, SizeHW, resized
from diffumask.types import BACKGROUND_ID, Mask

# All our choice: the paper's are not known.
LARGEST_COUNT = 3
AREAS = (0.02, 0.12)  # of the image, before a shape takes its part of the box
LARGEST_ASPECT = 3.0
LARGEST_CORNER_COUNT = 7

Box = tuple[slice, slice]
Generator = np.random.Generator


def occlude(pairs: Iterator[Pair], size_hw: SizeHW, rng: Generator) -> Pair:
    """Cover up to three places of the first pair, each by a random shape with a random filling."""
    pair = resized(next(pairs), size_hw)
    image, class_map = pair.image.copy(), pair.class_map.copy()
    for _ in range(rng.integers(1, LARGEST_COUNT + 1)):
        box = _random_box(size_hw, rng)
        covered = SHAPES[rng.choice(list(SHAPES))](_hw(box), rng)
        cover = FILLINGS[rng.choice(list(FILLINGS))](pairs, size_hw, box, rng)
        image[box][covered] = cover.image[covered]
        class_map[box][covered] = cover.class_map[covered]
    return Pair(image, class_map)


def _random_box(size_hw: SizeHW, rng: Generator) -> Box:
    area_px = rng.uniform(*AREAS) * math.prod(size_hw)
    aspect = math.exp(rng.uniform(-math.log(LARGEST_ASPECT), math.log(LARGEST_ASPECT)))
    lengths = (math.sqrt(area_px * aspect), math.sqrt(area_px / aspect))
    return _random_span(lengths[0], size_hw[0], rng), _random_span(lengths[1], size_hw[1], rng)


def _random_span(length: float, side: int, rng: Generator) -> slice:
    length_px = min(max(1, round(length)), side)
    start = int(rng.integers(side - length_px + 1))
    return slice(start, start + length_px)


def _rectangle(box_hw: SizeHW, rng: Generator) -> Mask:
    return np.ones(box_hw, bool)


def _ellipse(box_hw: SizeHW, rng: Generator) -> Mask:
    y, x = ((np.arange(length) + 0.5) / length * 2 - 1 for length in box_hw)
    return y[:, None] ** 2 + x**2 <= 1


def _polygon(box_hw: SizeHW, rng: Generator) -> Mask:
    corners = rng.integers((box_hw[1], box_hw[0]), size=(rng.integers(3, LARGEST_CORNER_COUNT), 2))
    drawn = np.zeros(box_hw, np.uint8)
    cv2.fillPoly(drawn, [corners.astype(np.int32)], (1,))
    return drawn.astype(bool)


def _colour(pairs: Iterator[Pair], size_hw: SizeHW, box: Box, rng: Generator) -> Pair:
    return _thing(np.broadcast_to(rng.integers(256, size=3, dtype=np.uint8), (*_hw(box), 3)))


def _noise(pairs: Iterator[Pair], size_hw: SizeHW, box: Box, rng: Generator) -> Pair:
    return _thing(rng.integers(256, size=(*_hw(box), 3), dtype=np.uint8))


def _patch(pairs: Iterator[Pair], size_hw: SizeHW, box: Box, rng: Generator) -> Pair:
    other = resized(next(pairs), size_hw)
    return Pair(other.image[box], other.class_map[box])


def _thing(image: np.ndarray) -> Pair:
    return Pair(image, np.full(image.shape[:2], BACKGROUND_ID, np.uint8))


def _hw(box: Box) -> SizeHW:
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


SHAPES: dict[str, Callable[[SizeHW, Generator], Mask]] = {
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "polygon": _polygon,
}
FILLINGS: dict[str, Callable[[Iterator[Pair], SizeHW, Box, Generator], Pair]] = {
    "colour": _colour,
    "noise": _noise,
    "patch": _patch,
}
