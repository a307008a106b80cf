"""Splicing: a grid of several images as one (Wu et al. 2023, section 3.5)."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from diffumask.dataset.pair import Pair, SizeHW, resized

# Rows and columns, and how often. The grids are the paper's; the shares are those of images that
# its released script makes, without the 6x6 and 7x7 that only the script has.
GRIDS = {(1, 2): 1500, (2, 1): 1500, (2, 2): 3000, (3, 3): 4000, (5, 5): 3000, (8, 8): 1000}


def splice(pairs: Iterator[Pair], size_hw: SizeHW, rng: np.random.Generator) -> Pair:
    """Lay the first pair and others out as a grid drawn at random; the first takes any place.

    Every tile is a whole image resized to its place, by 2 at most out of its aspect ratio. Grids
    with more rows or columns than the output has pixels are never drawn; where none is left the
    first pair is resized.
    """
    grids = [grid for grid in GRIDS if grid[0] <= size_hw[0] and grid[1] <= size_hw[1]]
    if not grids:
        return resized(next(pairs), size_hw)
    shares = np.array([GRIDS[grid] for grid in grids], float)
    return lay_out(pairs, size_hw, grids[rng.choice(len(grids), p=shares / shares.sum())], rng)


def lay_out(
    pairs: Iterator[Pair], size_hw: SizeHW, grid: tuple[int, int], rng: np.random.Generator
) -> Pair:
    """Lay pairs out as a grid of (rows, columns) whose tiles differ in size by a pixel at most."""
    rows, columns = (_spans(length, count) for length, count in zip(size_hw, grid, strict=True))
    image = np.empty((*size_hw, 3), np.uint8)
    class_map = np.empty(size_hw, np.uint8)
    places = [(row, column) for row in rows for column in columns]
    for place in rng.permutation(len(places)):
        row, column = places[place]
        tile = resized(next(pairs), (row.stop - row.start, column.stop - column.start))
        image[row, column] = tile.image
        class_map[row, column] = tile.class_map
    return Pair(image, class_map)


def _spans(length: int, count: int) -> list[slice]:
    edges = (place * length // count for place in range(count + 1))
    return [slice(start, stop) for start, stop in pairwise(edges)]
