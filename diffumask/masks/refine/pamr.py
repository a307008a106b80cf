"""Pixel-adaptive mask refinement (Araslanov & Roth 2020): means over alike pixels around."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from diffumask.types import Image

from .grid import grid_size, on_grid


@dataclass(frozen=True, slots=True)
class PamrSettings:
    """Distances to the eight neighbours in grid cells, and how often values move to them.

    `sharpness` multiplies differences of colour in standard deviations of the neighbourhood;
    these are raised by `least_spread` (of 255).
    """

    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    iterations: int = 20
    sharpness: float = 20.0
    least_spread: float = 1e-3


def pamr(
    image: Image,
    probabilities: Float32[np.ndarray, "candidate label h w"],
    settings: PamrSettings = PamrSettings(),
) -> Float32[np.ndarray, "candidate label h w"]:
    """Replace each probability by the mean over similar pixels around it, again and again.

    Pixels beyond the border repeat the border. Works on a grid of at least 64 cells on the
    shorter side, in whose cells the distances count.
    """

    def spread(
        small: Float32[np.ndarray, "h w 3"], columns: Float32[np.ndarray, "pixel column"]
    ) -> Float32[np.ndarray, "pixel column"]:
        affinity = _affinity(small, settings)
        for _ in range(settings.iterations):
            columns = affinity @ columns
        return columns

    return on_grid(spread, image, probabilities, grid_size((image.shape[0], image.shape[1])))


def _affinity(image: Float32[np.ndarray, "h w 3"], settings: PamrSettings) -> sparse.csr_array:
    """Return the matrix (pixel x pixel) whose rows are the softmax of likeness, and sum to 1."""
    h, w = image.shape[:2]
    sources = _neighbours(h, w, settings.dilations)
    colours = image.reshape(-1, 3)
    around = colours[sources]
    spread = around.std(1, keepdims=True)
    difference = np.abs(around - colours[:, None])
    logits = -settings.sharpness * (difference / (spread + settings.least_spread)).mean(2)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    starts = np.arange(0, sources.size + 1, sources.shape[1])
    return sparse.csr_array((weights.ravel(), sources.ravel(), starts), shape=(h * w,) * 2)


def _neighbours(h: int, w: int, dilations: tuple[int, ...]) -> np.ndarray:
    """Return the numbers of the pixels around each pixel, row by row."""
    y, x = np.mgrid[:h, :w]
    offsets = [
        (dy * step, dx * step)
        for step in dilations
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if dy or dx
    ]
    columns = [np.clip(y + dy, 0, h - 1) * w + np.clip(x + dx, 0, w - 1) for dy, dx in offsets]
    return np.stack(columns, -1).reshape(h * w, len(offsets)).astype(np.int32)
