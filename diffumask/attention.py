"""Attention to the wanted words: its formulas, and its running means per resolution."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional

from diffumask.errors import InputError

SizeHW = tuple[int, int]
Positions = tuple[int, ...]


@dataclass(slots=True)
class Grid:
    """Running sums over the layers of one resolution, and how many layers add to them."""

    factor: int
    total: Float32[Tensor, "image column h w"]
    spread: Float32[Tensor, "image column h w"] | None = None
    matrix: Float32[Tensor, "image key h w"] | None = None
    n_layers: int = 0
    n_heads: int = 0
    n_self_layers: int = 0


class Attention:
    """Attention to the wanted words, averaged over heads, layers and steps as it comes.

    Image i is the i-th image of the pipeline's output. Only the columns of the wanted tokens are
    held, in fp32 on the device of the model: the size does not depend on the number of steps.
    """

    def __init__(self) -> None:
        self._columns: tuple[dict[str, Positions], ...] = ()
        self._grids: dict[SizeHW, Grid] = {}
        self._evaluations = torch.zeros(())
        self._spreads = torch.zeros(())

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The wanted words of each image; empty until the pipeline ran."""
        return tuple(tuple(columns) for columns in self._columns)

    @property
    def maps(self) -> Mapping[SizeHW, Float32[Tensor, "image column h w"]]:
        """Mean attention by the (height, width) of the layers; empty until the pipeline ran.

        A value is the share of a pixel's attention that goes to the column's token, in [0, 1].
        """
        return {
            size: grid.total / (grid.n_layers * self._evaluations)
            for size, grid in self._grids.items()
        }

    @property
    def spread_maps(self) -> Mapping[SizeHW, Float32[Tensor, "image column h w"]]:
        """Mean over layers and steps of self-attention times the maps of the steps before it.

        Of the resolutions that have self-attention; empty if it was not captured.
        """
        return {
            size: grid.spread / (grid.n_self_layers * self._spreads)
            for size, grid in self._grids.items()
            if grid.spread is not None
        }

    @property
    def self_matrices(self) -> Mapping[SizeHW, Float32[Tensor, "image n n"]]:
        """Mean self-attention of each pixel (row) to each (column) of one grid, by its size.

        Pixels run row by row, and each row of a matrix sums to 1. Empty if it was not captured.
        """
        return {
            size: grid.matrix.flatten(2).mT / (grid.n_self_layers * self._evaluations)
            for size, grid in self._grids.items()
            if grid.matrix is not None
        }

    @property
    def sums(self) -> list[Float32[Tensor, "image column _h _w"]]:
        """All tensors that grow with the image and the words."""
        grids = self._grids.values()
        every = (one for grid in grids for one in (grid.total, grid.spread, grid.matrix))
        return [one for one in every if one is not None]

    @property
    def factors(self) -> Mapping[SizeHW, int]:
        """By how much each resolution is smaller than the latents: 1, 2, 4, ..."""
        return {size: grid.factor for size, grid in self._grids.items()}

    @property
    def n_heads(self) -> Mapping[SizeHW, int]:
        """How many heads each resolution averages, those of all its layers together."""
        return {size: grid.n_heads for size, grid in self._grids.items()}

    def columns(self, image: int, word: str) -> tuple[int, ...]:
        """Return the columns of `maps` that hold a word's tokens, in the order of the text."""
        columns = self._columns[image]
        if word not in columns:
            raise InputError(f"expected one of the words {list(columns)}, got {word!r}")
        return columns[word]

    def expect(self, positions: Sequence[Mapping[str, Positions]]) -> Int64[Tensor, "image column"]:
        """Give each image's wanted text positions a column; return the position of each column.

        Images that want fewer positions than others have unused columns at the end.
        """
        rows = [sorted(set().union(*image.values())) for image in positions]
        self._columns = tuple(
            {word: tuple(map(row.index, of_word)) for word, of_word in image.items()}
            for row, image in zip(rows, positions, strict=True)
        )
        n_columns = max(map(len, rows), default=0)
        padded = [row + [0] * (n_columns - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long).reshape(len(rows), n_columns)

    def grid(self, size_hw: SizeHW, factor: int, positions: Int64[Tensor, "image column"]) -> Grid:
        """Return the sums of a resolution; zeros if they are new."""
        if size_hw not in self._grids:
            zeros = torch.zeros(*positions.shape, *size_hw, device=positions.device)
            self._grids[size_hw] = Grid(factor, zeros)
        return self._grids[size_hw]

    def count(self, weight: Float32[Tensor, ""]) -> None:
        """Count an evaluation of the network before its layers add to the sums."""
        self._spreads = self._spreads + weight * (self._evaluations > 0)
        self._evaluations = self._evaluations + weight


def word_attention(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head key channel"],
    positions: Int64[Tensor, "image column"],
    scale: float,
) -> Float32[Tensor, "image pixel column"]:
    """Return the softmax attention to the keys at some positions, averaged over heads.

    The same as exp(scale q.k_s - logsumexp_j(scale q.k_j)) of the wanted columns s alone, but the
    fused softmax of all columns takes two thirds of the time, and its mean is small.
    """
    logits = q.float() @ (scale * k.float()).mT
    among_keys = logits.softmax(dim=-1).mean(dim=1)
    return among_keys.gather(-1, positions[:, None].expand(-1, among_keys.shape[1], -1))


def pixel_attention(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head pixel channel"],
    scale: float,
) -> Float32[Tensor, "image pixel pixel"]:
    """Return the softmax attention of all pixels to all, averaged over heads.

    Head after head, so that no more than one N x N attention stands beside the mean.
    """
    mean = torch.zeros((), device=q.device)
    for q_head, k_head in zip(q.unbind(1), k.unbind(1), strict=True):
        logits = q_head.float() @ (scale * k_head.float()).mT
        mean = mean + logits.softmax(dim=-1) / q.shape[1]
    return mean


def attend(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head key channel"],
    values: Float[Tensor, "image key column"],
    scale: float,
) -> Float32[Tensor, "image pixel column"]:
    """Return softmax attention times values, averaged over heads, without the N x N attention.

    The values are padded to the channels of the queries: with another width the fused kernels
    of some devices (flash, and the CPU's) give way to one that writes the attention out.
    """
    n_columns, width = values.shape[-1], q.shape[-1]
    n_chunks = max(1, math.ceil(n_columns / width))
    padded = functional.pad(values.to(q.dtype), (0, n_chunks * width - n_columns))
    fetched = [
        functional.scaled_dot_product_attention(
            q, k, chunk[:, None].expand(-1, q.shape[1], -1, -1), scale=scale
        ).mean(dim=1, dtype=torch.float32)
        for chunk in padded.split(width, dim=-1)
    ]
    return torch.cat(fetched, dim=-1)[..., :n_columns]


def halved(latent_hw: SizeHW, factor: int) -> SizeHW:
    """Halve the size of the latents, rounding up each time, until it is smaller by the factor."""
    h, w = latent_hw
    while factor > 1:
        h, w, factor = (h + 1) // 2, (w + 1) // 2, factor // 2
    return h, w
