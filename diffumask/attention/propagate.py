"""Heat maps propagated along the network's own self-attention. Training-free; torch ends here.

The matrix is the mean self-attention of one grid, as `capture(..., self_attention=True)`
keeps it: row i tells what pixel i attends to, pixels run row by row, and each row sums to 1.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float32
from skimage.filters import threshold_otsu
from torch import Tensor

from diffumask.errors import InputError
from diffumask.types import FLAT, Heat

from .aggregate import aggregate
from .defaults import MERGE, POWER, WEIGHTS
from .probabilities import autocast_off
from .running_means import Attention

MAX_ROUNDS = 8

Heats = Float[Tensor, "word h w"]
Matrix = Float[Tensor, "n n"]


def propagate(heats: Heats, matrix: Matrix, power: int = POWER) -> Float32[Tensor, "word h w"]:
    """Return A_self^power . A_cross, stretched to [0, 1], of the heat maps of one image.

    Nguyen et al. 2023 (Dataset Diffusion). The matrix is applied `power` times and never
    multiplied with itself. Without stretching, as every power lifts the lowest value further, no
    threshold would serve two images. A map that is flat by then (`diffumask.types.FLAT`) is 0
    everywhere.
    """
    if power < 0:
        raise ValueError(f"expected a power >= 0, got {power}")
    columns = _columns(heats, matrix)
    with autocast_off(matrix.device):
        for _ in range(power):
            columns = matrix.float() @ columns
    return _stretched(columns).mT.unflatten(1, heats.shape[1:])


def expand_seeds(
    heats: Heats, matrix: Matrix, max_rounds: int = MAX_ROUNDS
) -> Float32[Tensor, "word h w"]:
    """Grow the most attended cells of each heat map into a region along self-attention.

    The idea is that of SeeDiff (2025): cross-attention gives no more than seeds, self-attention
    the region. The procedure is ours: what lies above Otsu's threshold is the region; the share
    of each cell's attention that goes to it, stretched to [0, 1], is the new heat; what of that
    lies above Otsu's threshold is the new region; until it stays, or `max_rounds` are over. One
    scale, where theirs goes through several. A flat map is 0 everywhere.
    """
    if max_rounds < 1:
        raise ValueError(f"expected max_rounds >= 1, got {max_rounds}")
    columns = _columns(heats, matrix)
    with autocast_off(matrix.device):
        grown = [_grown(column, matrix.float(), max_rounds) for column in columns.unbind(1)]
    return torch.stack(grown).unflatten(1, heats.shape[1:])


def propagated(
    attention: Attention,
    weights: Mapping[int, float] | None = WEIGHTS,
    merge: str = MERGE,
    power: int = POWER,
) -> list[dict[str, Heat]]:
    """Return the heat maps of `aggregate` after `propagate`: one dict per image, word -> heat.

    They are of the grid of `Attention.self_matrices`, and 0 everywhere where the attention is
    flat. Raises `InputError` for attention without these and for attention that is not finite.
    """
    if not attention.self_matrices:
        raise InputError(
            "expected attention with a matrix of self-attention, got none;"
            " use capture(..., self_attention=True)"
        )
    ((size_hw, matrices),) = attention.self_matrices.items()
    heats = aggregate(attention, size_hw, weights, merge)
    return [
        _of_image(of_words, matrix, power) for of_words, matrix in zip(heats, matrices, strict=True)
    ]


def _of_image(of_words: Mapping[str, Heat], matrix: Matrix, power: int) -> dict[str, Heat]:
    if not of_words:
        return {}
    stacked = torch.stack([torch.from_numpy(heat) for heat in of_words.values()])
    after = propagate(stacked, matrix, power).cpu().numpy()
    return dict(zip(of_words, after, strict=True))


def _columns(heats: Heats, matrix: Matrix) -> Float32[Tensor, "n word"]:
    n_cells = heats.shape[1] * heats.shape[2]
    if len(matrix) != n_cells:
        raise ValueError(f"expected a matrix of {n_cells} cells, got {len(matrix)}")
    return heats.to(matrix.device, torch.float32).flatten(1).mT


def _grown(
    column: Float32[Tensor, " n"], matrix: Float32[Tensor, "n n"], max_rounds: int
) -> Float32[Tensor, " n"]:
    region = _upper(column)
    for _ in range(max_rounds):
        column = _stretched((matrix @ region)[:, None])[:, 0]
        before, region = region, _upper(column)
        if torch.equal(region, before):
            break
    return column


def _upper(column: Float32[Tensor, " n"]) -> Float32[Tensor, " n"]:
    """Return 1 above Otsu's threshold and 0 elsewhere; all 0 for a flat column."""
    low, peak = column.amin(), column.amax()
    if peak - low <= FLAT * peak:
        return torch.zeros_like(column)
    return (column > float(threshold_otsu(column.cpu().numpy()))).float()


def _stretched(columns: Float32[Tensor, "n word"]) -> Float32[Tensor, "n word"]:
    """Map the lowest value of each column to 0 and the highest to 1; a flat one to 0."""
    low, peak = columns.amin(0, keepdim=True), columns.amax(0, keepdim=True)
    contrast = peak - low
    return torch.where(contrast > FLAT * peak, (columns - low) / contrast, 0.0)
