"""What is kept of the attention of one layer: sums over the evaluations of the network."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffumask.errors import InputError

from .kernel import Seen
from .network import Network
from .pooling import AreaMean, matrix_hw
from .probabilities import pixel_attention
from .running_means import Attention, Grid, SizeHW, Sum


@dataclass(slots=True)
class Evaluation:
    """What all layers share at the evaluation of the network that runs.

    The weight is 1 where it counts, else 0; `rows` are those of the batch that see the prompt,
    and `of_prompt` is false of an evaluation that has none.
    """

    network: Network
    batch_size: int = 0
    rows: slice = field(default_factory=lambda: slice(None))
    of_prompt: bool = True
    positions: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    weight: Tensor = field(default_factory=lambda: torch.ones(()))


class Reader:
    """Adds the attention of one layer to the words to the sums of its grid."""

    def __init__(self, evaluation: Evaluation, name: str, factor: int, n_heads: int) -> None:
        self.evaluation = evaluation
        self.name = name
        self.factor = factor
        self.n_heads = n_heads
        self.size_hw: SizeHW = (0, 0)
        self.total = self.count = torch.empty(0)

    def start(self, attention: Attention, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        grid = self._grid(attention, size_hw)
        self._add_to(grid.words, size_hw)
        grid.n_heads += self.n_heads

    def _grid(self, attention: Attention, size_hw: SizeHW) -> Grid:
        return attention.grid(size_hw, self.factor, self.evaluation.positions)

    def _add_to(self, sums: Sum, size_hw: SizeHW) -> None:
        self.size_hw, self.total, self.count = size_hw, sums.total, sums.count_of(self.name)

    def add(self, seen: Seen) -> None:
        """Add what the layer saw at one evaluation."""
        now = self.evaluation
        weights = now.network.word_attention(seen, now.positions)
        self._add(self._on_grid(weights.mean(dim=1).mT))

    def _add(self, maps: Tensor) -> None:
        self.total.addcmul_(maps, self.evaluation.weight)
        self.count.add_(self.evaluation.weight)

    def _on_grid(self, of_pixels: Tensor) -> Tensor:
        """Give the pixels, the last axis, their rows and columns."""
        h, w = self.size_hw
        if of_pixels.shape[-1] != h * w:
            raise InputError(
                f"expected {h} x {w} pixels at {self.name}, got {of_pixels.shape[-1]}: layers that"
                " merge or add pixels cannot be captured"
            )
        return of_pixels.unflatten(-1, self.size_hw)


class HeadsReader(Reader):
    """The same, and keeps each head of each layer apart as well."""

    def start(self, attention: Attention, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        super().start(attention, size_hw)
        n_images, n_columns, h, w = self.total.shape
        self.heads = self.total.new_zeros(n_images, n_columns, self.n_heads, h, w)
        self._grid(attention, size_hw).heads[self.name] = self.heads

    def add(self, seen: Seen) -> None:
        """Add what the layer saw at one evaluation."""
        now = self.evaluation
        weights = now.network.word_attention(seen, now.positions)
        by_head = self._on_grid(weights.permute(0, 3, 1, 2))
        self.heads.addcmul_(by_head, now.weight)
        self._add(by_head.mean(dim=2))


class MatrixReader(Reader):
    """The same for self-attention, of which all is kept; for one grid, as it is large.

    A larger grid is pooled before the softmax, so that what is computed and held has a bound. Of
    joint attention it is the part from pixels to pixels, whose rows sum to 1 again. What is `due`
    is computed at the next evaluation that the layer sees, as a cache may skip some. The host tells
    it, so that what is not due takes no time; a compiled network has a graph for each value.
    """

    due = False

    def start(self, attention: Attention, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        self.matrix_hw, positions = matrix_hw(size_hw), self.evaluation.positions
        self.pool = AreaMean(size_hw, self.matrix_hw, positions.device)
        self._add_to(attention.matrix(self.matrix_hw, positions), size_hw)

    def add(self, seen: Seen) -> None:
        """Add what the layer saw at one evaluation."""
        if not self.due:
            return
        self.due = False
        pixels = self.evaluation.network.pixels(seen)
        matrix = pixel_attention(self._pooled(pixels.q), self._pooled(pixels.k), pixels.scale)
        self._add(matrix.unflatten(-1, self.matrix_hw))

    def _pooled(self, of_pixels: Tensor) -> Tensor:
        return self.pool(self._on_grid(of_pixels.mT)).flatten(-2).mT
