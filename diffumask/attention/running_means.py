"""Attention to the wanted words, as running means per resolution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from diffumask.errors import InputError

SizeHW = tuple[int, int]
Positions = tuple[int, ...]


@dataclass(slots=True)
class Sum:
    """A running sum over layers, and of how many evaluations of each layer it is.

    A layer may see fewer evaluations than the network, where a cache skips it.
    """

    total: Float32[Tensor, "image column h w"]
    counts: dict[str, Float32[Tensor, ""]] = field(default_factory=dict)

    def count_of(self, layer: str) -> Float32[Tensor, ""]:
        """Return the count of a layer's evaluations, to add to."""
        return self.counts.setdefault(layer, self.total.new_zeros(()))

    def mean(self) -> Float32[Tensor, "image column h w"]:
        """Return the mean over all evaluations of layers."""
        return self.total / torch.stack(list(self.counts.values())).sum()


@dataclass(slots=True)
class Grid:
    """Running sums over the layers of one resolution; `heads` by layer where they are kept."""

    factor: int
    words: Sum
    heads: dict[str, Float32[Tensor, "image column _head _h _w"]] = field(default_factory=dict)
    n_heads: int = 0


class Attention:
    """Attention to the wanted words, averaged over heads, layers and steps as it comes.

    Image i is the i-th image of the pipeline's output. Only the columns of the wanted tokens are
    held, in fp32 on the device of the model: the size does not depend on the number of steps.
    """

    def __init__(self) -> None:
        self._columns: tuple[dict[str, Positions], ...] = ()
        self._grids: dict[SizeHW, Grid] = {}
        self._matrices: dict[SizeHW, Sum] = {}

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The wanted words of each image; empty until the pipeline ran."""
        return tuple(tuple(columns) for columns in self._columns)

    @property
    def maps(self) -> Mapping[SizeHW, Float32[Tensor, "image column h w"]]:
        """Mean attention by the (height, width) of the layers; empty until the pipeline ran.

        A value is the share of a pixel's attention that goes to the column's token, in [0, 1].
        Each layer counts for each evaluation that it took part in.
        """
        return {size: grid.words.mean() for size, grid in self._grids.items()}

    @property
    def head_maps(
        self,
    ) -> Mapping[SizeHW, Mapping[str, Float32[Tensor, "image column head h w"]]]:
        """Mean attention of each head over the steps, by the size and name of its layer.

        Empty if `capture` was not asked for it.
        """
        return {
            size: {name: heads / grid.words.counts[name] for name, heads in grid.heads.items()}
            for size, grid in self._grids.items()
            if grid.heads
        }

    @property
    def self_matrices(self) -> Mapping[SizeHW, Float32[Tensor, "image n n"]]:
        """Mean self-attention of each pixel (row) to each (column) of one grid, by its size.

        The grid is that of some layers, or a coarser one that they were pooled to. Pixels run row
        by row, and each row of a matrix sums to 1. Empty if it was not captured.
        """
        return {size: sums.mean().flatten(2) for size, sums in self._matrices.items()}

    @property
    def sums(self) -> list[Float32[Tensor, "image column *_rest"]]:
        """All tensors that grow with the image and the words."""
        grids = self._grids.values()
        every = [*(grid.words for grid in grids), *self._matrices.values()]
        return [one.total for one in every] + [h for grid in grids for h in grid.heads.values()]

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
            self._grids[size_hw] = Grid(factor, Sum(zeros))
        return self._grids[size_hw]

    def matrix(self, size_hw: SizeHW, positions: Int64[Tensor, "image column"]) -> Sum:
        """Return the sums of the self-attention on a grid; zeros if they are new."""
        if size_hw not in self._matrices:
            n_cells = size_hw[0] * size_hw[1]
            zeros = torch.zeros(len(positions), n_cells, *size_hw, device=positions.device)
            self._matrices[size_hw] = Sum(zeros)
        return self._matrices[size_hw]


def halved(latent_hw: SizeHW, factor: int) -> SizeHW:
    """Halve the size of the latents, rounding up each time, until it is smaller by the factor."""
    h, w = latent_hw
    while factor > 1:
        h, w, factor = (h + 1) // 2, (w + 1) // 2, factor // 2
    return h, w
