"""Work on a smaller grid, and the way back to the pixels along the edges of the image."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, Int32

from diffumask.types import Image

RGB_SIGMA = 13.0  # of 255: how far colours may differ to be the same surface
FLOOR = 1e-12  # share of plain bilinear weights, for pixels whose colour no neighbour has
BAND_ROWS = 32


def grid_size(
    size_hw: tuple[int, int], factor: float = 4.0, least_side: int = 64
) -> tuple[int, int]:
    """Return the size smaller by `factor`, with no less than `least_side` on the shorter side.

    Images that are smaller than that keep their size.
    """
    factor = max(1.0, min(factor, min(size_hw) / least_side))
    return round(size_hw[0] / factor), round(size_hw[1] / factor)


def shrink(
    planes: Float32[np.ndarray, "*planes h w"], size_hw: tuple[int, int]
) -> Float32[np.ndarray, "*planes grid_h grid_w"]:
    """Return the means over the areas of a smaller grid."""
    result = np.empty((*planes.shape[:-2], *size_hw), np.float32)
    for index in np.ndindex(planes.shape[:-2]):
        result[index] = cv2.resize(planes[index], size_hw[::-1], interpolation=cv2.INTER_AREA)
    return result


def shrink_image(image: Image, size_hw: tuple[int, int]) -> Float32[np.ndarray, "grid_h grid_w 3"]:
    """Return the mean colours over the areas of a smaller grid, in 0..255."""
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def on_grid(
    method: Callable[
        [Float32[np.ndarray, "grid_h grid_w 3"], Float32[np.ndarray, "pixel column"]],
        Float32[np.ndarray, "pixel column"],
    ],
    image: Image,
    planes: Float32[np.ndarray, "candidate label h w"],
    size_hw: tuple[int, int],
) -> Float32[np.ndarray, "candidate label h w"]:
    """Apply a method on a smaller grid and take its result to the pixels of the image.

    The method takes the image and one column for each plane; what rounding puts outside [0, 1]
    is clipped.
    """
    small_image = shrink_image(image, size_hw)
    small_planes = shrink(planes, size_hw).reshape(-1, size_hw[0] * size_hw[1])
    columns = method(small_image, np.ascontiguousarray(small_planes.T))
    result = joint_upsample(image, small_image, columns)
    return np.clip(result, 0, 1, out=result).reshape(planes.shape)


def joint_upsample(
    image: Image,
    small: Float32[np.ndarray, "grid_h grid_w 3"],
    columns: Float32[np.ndarray, "cell column"],
) -> Float32[np.ndarray, "column h w"]:
    """Take columns of values from a smaller grid to the pixels (Kopf et al. 2007).

    Each pixel takes a mean of the four cells around it, weighted bilinearly and by a Gaussian of
    the difference in colour. `small` is the image on the grid; where the sizes are equal every
    pixel takes its own cell.
    """
    (h, w), (small_h, small_w) = image.shape[:2], small.shape[:2]
    planes = np.empty((columns.shape[1], h, w), np.float32)
    if (h, w) == (small_h, small_w):
        planes[:] = columns.T.reshape(planes.shape)
        return planes
    rows, row_weights = _around(h, small_h)
    cells, cell_weights = _around(w, small_w)
    colours = np.ascontiguousarray(small.transpose(2, 0, 1))
    values = np.ascontiguousarray(columns.T).reshape(-1, small_h, small_w)
    sides = [(colours.take(side, 2), values.take(side, 2)) for side in cells.T]
    taps = [(row, side) for row in range(2) for side in range(2)]
    for start in range(0, h, BAND_ROWS):  # small enough for the cache
        band = slice(start, start + BAND_ROWS)
        pixels = np.ascontiguousarray(image[band].transpose(2, 0, 1), np.float32)
        weights = np.empty((len(taps), *pixels.shape[1:]), np.float32)
        for index, (row, side) in enumerate(taps):
            _distance(pixels, sides[side][0].take(rows[band, row], 1), weights[index])
        weights *= -0.5 / RGB_SIGMA**2
        np.exp(weights, out=weights)
        weights += FLOOR
        for weight, (row, side) in zip(weights, taps, strict=True):
            weight *= row_weights[band, row, None] * cell_weights[:, side]
        weights /= weights.sum(0)
        planes[:, band] = 0
        for weight, (row, side) in zip(weights, taps, strict=True):
            planes[:, band] += weight * sides[side][1].take(rows[band, row], 1)
    return planes


def _distance(
    pixels: Float32[np.ndarray, "3 h w"],
    colours: Float32[np.ndarray, "3 h w"],
    out: Float32[np.ndarray, "h w"],
) -> None:
    """Write the squared distance of colours; those of `colours` are overwritten."""
    colours -= pixels
    colours *= colours
    np.add(colours[0], colours[1], out=out)
    out += colours[2]


def _around(
    size: int, small: int
) -> tuple[Int32[np.ndarray, "size 2"], Float32[np.ndarray, "size 2"]]:
    """Return the two cells around each pixel along one axis, and their linear weights."""
    position = (np.arange(size) + 0.5) * (small / size) - 0.5
    first = np.floor(position).astype(np.int32)
    share = (position - first).astype(np.float32)
    cells = np.stack([first, first + 1], 1).clip(0, small - 1)
    return cells, np.stack([1 - share, share], 1)
