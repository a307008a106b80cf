"""Work on a smaller grid, and the way back to the pixels along the edges of the image."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, Int32
from scipy import sparse

from diffumask.types import Image

RGB_SIGMA = 13.0  # of 255: how far colours may differ to be the same surface
FLOOR = 1e-12  # share of plain bilinear weights, for pixels whose colour no neighbour has
BAND_ROWS = 16


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
    across = np.ascontiguousarray(small.transpose(2, 0, 1))[:, :, cells]  # 3 small_h w side
    bilinear = row_weights[:, None, :, None] * cell_weights[:, None, :]
    sources = rows[:, None, :, None] * small_w + cells[:, None, :]
    for start in range(0, h, BAND_ROWS):  # small enough for the cache
        band = slice(start, start + BAND_ROWS)
        weights = _likeness(image[band], across, rows[band])
        weights *= bilinear[band]
        matrix = _rows_to_csr(weights.reshape(-1, 4), sources[band].reshape(-1, 4), len(columns))
        planes[:, band] = (matrix @ columns).T.reshape(len(planes), -1, w)
    return planes


def _likeness(
    image: Image,
    across: Float32[np.ndarray, "3 grid_h w 2"],
    rows: Int32[np.ndarray, "h 2"],
) -> Float32[np.ndarray, "h w 2 2"]:
    """Return the likeness of each pixel and the cells above and below, left and right of it."""
    distance = np.zeros((*image.shape[:2], 2, 2), np.float32)
    for channel, cells in enumerate(across):
        colours = image[..., channel, None, None].astype(np.float32)
        difference = cells[rows].transpose(0, 2, 1, 3) - colours
        difference *= difference
        distance += difference
    distance *= -0.5 / RGB_SIGMA**2
    np.exp(distance, out=distance)
    distance += FLOOR
    return distance


def _rows_to_csr(
    weights: Float32[np.ndarray, "row tap"], sources: Int32[np.ndarray, "row tap"], width: int
) -> sparse.csr_array:
    """Return the matrix of these rows, each divided by its sum."""
    total = weights @ np.ones((weights.shape[1], 1), np.float32)
    weights /= total
    starts = np.arange(0, weights.size + 1, weights.shape[1], dtype=np.int32)
    return sparse.csr_array((weights.ravel(), sources.ravel(), starts), (len(weights), width))


def _around(
    size: int, small: int
) -> tuple[Int32[np.ndarray, "size 2"], Float32[np.ndarray, "size 2"]]:
    """Return the two cells around each pixel along one axis, and their linear weights."""
    position = (np.arange(size) + 0.5) * (small / size) - 0.5
    first = np.floor(position).astype(np.int32)
    share = (position - first).astype(np.float32)
    cells = np.stack([first, first + 1], 1).clip(0, small - 1)
    return cells, np.stack([1 - share, share], 1)
