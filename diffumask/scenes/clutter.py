"""Busy grounds: many things of strong contrast, each in one of the ground's colours.

They hold edges and colours like those of the objects, so that an object on them is not what stands
out. Lengths are in units of the shorter image side, so that a ground looks the same at every size.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float32

Rgb = tuple[int, int, int]
Picture = Float32[np.ndarray, "h w 3"]
Clutter = Callable[[np.random.Generator, int, int, Sequence[Rgb]], Picture]

FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel
SHADE_RANGE = (0.8, 1.1)  # of one thing's colour
EDGE_SHADE = 0.55  # of a thing's outline, relative to the thing


def pebbles(rng: np.random.Generator, h: int, w: int, colours: Sequence[Rgb]) -> Picture:
    """Lay round stones side by side."""
    image = _filled(h, w, colours[0])
    for centre in _scattered(rng, h, w, spacing=0.16):
        axes = rng.uniform(0.062, 0.1, 2) * min(h, w)
        _draw(image, _ellipse(centre, axes, rng.uniform(0, np.pi)), _shade(rng, colours[1:]))
    return image


def leaves(rng: np.random.Generator, h: int, w: int, colours: Sequence[Rgb]) -> Picture:
    """Heap up long leaves that point everywhere."""
    image = _filled(h, w, colours[0])
    for centre in _scattered(rng, h, w, spacing=0.13):
        length = rng.uniform(0.11, 0.18) * min(h, w)
        leaf = _ellipse(centre, np.array([length, 0.38 * length]), rng.uniform(0, np.pi))
        _draw(image, leaf, _shade(rng, colours[1:]))
    return image


def stripes(rng: np.random.Generator, h: int, w: int, colours: Sequence[Rgb]) -> Picture:
    """Hang a curtain in folds, in stripes of two of the colours."""
    chosen = rng.permutation(np.array(colours, np.float32))[:2]
    width = rng.uniform(0.08, 0.15)
    x = np.arange(w, dtype=np.float32) / min(h, w) + rng.uniform(0, 2 * width)
    row = chosen[(x // width).astype(int) % 2]
    folds = 1 + 0.12 * np.sin(2 * np.pi * x / (1.7 * width))
    return np.repeat((row * folds[:, None])[None], h, 0).astype(np.float32)


def books(rng: np.random.Generator, h: int, w: int, colours: Sequence[Rgb]) -> Picture:
    """Stand books of all colours and heights on shelves."""
    image = _filled(h, w, colours[0])
    unit = min(h, w)
    shelf_height = rng.uniform(0.26, 0.38) * unit
    shelf = -rng.uniform(0, shelf_height)
    while shelf < h:
        x = -rng.uniform(0, 0.05) * unit
        while x < w:
            width, height = rng.uniform(0.055, 0.11) * unit, rng.uniform(0.7, 0.92) * shelf_height
            bottom = shelf + 0.94 * shelf_height
            corners = [(x, bottom - height), (x + width, bottom - height), (x + width, bottom)]
            _draw(image, np.array([*corners, (x, bottom)]), _shade(rng, colours[1:]))
            x += width
        shelf += shelf_height
    return image


def blocks(rng: np.random.Generator, h: int, w: int, colours: Sequence[Rgb]) -> Picture:
    """Scatter toy blocks: squares and triangles, turned at random."""
    image = _filled(h, w, colours[0])
    for centre in _scattered(rng, h, w, spacing=0.2):
        num_corners = int(rng.choice([3, 4]))
        angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(num_corners) / num_corners
        radius = rng.uniform(0.085, 0.13) * min(h, w)
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        _draw(image, corners, _shade(rng, colours[1:]))
    return image


def mosaic(rng: np.random.Generator, h: int, w: int, colours: Sequence[Rgb]) -> Picture:
    """Lay square tiles with joints, each tile of a colour of its own."""
    image = _filled(h, w, colours[0])
    tile = rng.uniform(0.11, 0.16) * min(h, w)
    start_y, start_x = -rng.uniform(0, tile, 2)
    inner = 0.88 * tile
    for y in np.arange(start_y, h, tile):
        for x in np.arange(start_x, w, tile):
            corners = [(x, y), (x + inner, y), (x + inner, y + inner), (x, y + inner)]
            _draw(image, np.array(corners), _shade(rng, colours[1:]), outlined=False)
    return image


def _filled(h: int, w: int, colour: Rgb) -> Picture:
    return np.full((h, w, 3), colour, np.float32)


def _shade(rng: np.random.Generator, colours: Sequence[Rgb]) -> Float32[np.ndarray, "3"]:
    colour = np.array(colours[int(rng.integers(len(colours)))], np.float32)
    return np.float32(rng.uniform(*SHADE_RANGE)) * colour


def _scattered(
    rng: np.random.Generator, h: int, w: int, spacing: float
) -> Float32[np.ndarray, "n 2"]:
    """Return points (x, y) of a shaken grid that reaches over the border, in random order."""
    step = spacing * min(h, w)
    y, x = np.meshgrid(np.arange(0, h + step, step), np.arange(0, w + step, step), indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], 1)
    points += rng.uniform(-0.5, 0.5, points.shape) * step
    return rng.permutation(points).astype(np.float32)


def _ellipse(
    centre: Float32[np.ndarray, "2"], axes: np.ndarray, angle_rad: float
) -> Float32[np.ndarray, "n 2"]:
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    x, y = axes[0] * np.cos(turns), axes[1] * np.sin(turns)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return (centre + np.stack([cos * x - sin * y, sin * x + cos * y], 1)).astype(np.float32)


def _draw(
    image: Picture, corners_xy: np.ndarray, colour: Float32[np.ndarray, "3"], outlined: bool = True
) -> None:
    points = [np.round(corners_xy * (1 << FRACTION_BITS)).astype(np.int32)]
    cv2.fillPoly(image, points, colour.tolist(), cv2.LINE_AA, FRACTION_BITS)
    if outlined:
        edge = (EDGE_SHADE * colour).tolist()
        cv2.polylines(image, points, True, edge, 1, cv2.LINE_AA, FRACTION_BITS)


CLUTTERS: dict[str, Clutter] = {
    "pebbles": pebbles,
    "leaves": leaves,
    "stripes": stripes,
    "books": books,
    "blocks": blocks,
    "mosaic": mosaic,
}
