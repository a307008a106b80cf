"""Grids made coarser: each cell is the mean of the area that it covers."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from .defaults import ENOUGH_MATRIX_CELLS, MAX_MATRIX_CELLS
from .probabilities import autocast_off
from .running_means import SizeHW


class AreaMean:
    """Averages maps over the cells of a coarser grid; an axis that would grow stays as it is.

    The weights are made once, as they are needed at each evaluation of a network. Cells may cover
    parts of others, which the windows of adaptive pooling count as a whole.
    """

    def __init__(self, from_hw: SizeHW, to_hw: SizeHW, device: torch.device) -> None:
        self.rows, self.columns = (
            _shares(n, to_n).to(device) if to_n < n else None
            for n, to_n in zip(from_hw, to_hw, strict=True)
        )

    def __call__(self, maps: Float[Tensor, "*rest h w"]) -> Float[Tensor, "*rest to_h to_w"]:
        """Return the means, in float32; the maps themselves where neither axis gets coarser."""
        with autocast_off(maps.device):
            if self.rows is not None:
                maps = self.rows @ maps.float()
            if self.columns is not None:
                maps = maps.float() @ self.columns.mT
        return maps


def _shares(n: int, to_n: int) -> Float32[Tensor, "to_n n"]:
    """Return the share of each fine cell (column) in each coarse one (row); rows sum to 1."""
    edges = torch.arange(to_n + 1, dtype=torch.float64)[:, None] * n / to_n
    starts = torch.arange(n, dtype=torch.float64)
    covered = edges[1:].minimum(starts + 1) - edges[:-1].maximum(starts)
    return (covered.clamp(min=0) * to_n / n).float()


def matrix_factor(sizes: Mapping[int, SizeHW]) -> int:
    """Return which of the layers, by the factor of their grid, the matrix is made of."""
    enough = [factor for factor, (h, w) in sizes.items() if h * w >= ENOUGH_MATRIX_CELLS]
    return max(enough, default=min(sizes))


def matrix_hw(size_hw: SizeHW) -> SizeHW:
    """Return the grid of the matrix of a layer: its own, or as much of its aspect as is kept."""
    h, w = size_hw
    if h * w <= MAX_MATRIX_CELLS:
        return size_hw
    shorter = max(1, round(min(size_hw) * math.sqrt(MAX_MATRIX_CELLS / (h * w))))
    longer = min(max(size_hw), MAX_MATRIX_CELLS // shorter)
    return (shorter, longer) if h <= w else (longer, shorter)
