"""What takes the place of a layer's processor while its attention is captured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffumask.errors import InputError

from .network import Network, Projecting, Projections, Rotary
from .pooling import AreaMean, matrix_hw
from .running_means import Attention, Grid, SizeHW, Sum


@dataclass(slots=True)
class Evaluation:
    """What all layers share at the evaluation of the network that runs.

    The weight is 1 where it counts, else 0.
    """

    network: Network
    batch_size: int = 0
    positions: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    weight: Tensor = field(default_factory=lambda: torch.ones(()))


class Recorder:
    """Calls a layer's own processor, then adds what the layer attends to to the sums.

    All that may change from one evaluation to the next is a tensor: a compiled network then
    holds this without a graph break, and is not compiled again.
    """

    def __init__(
        self,
        processor: Callable[..., Any],
        evaluation: Evaluation,
        layer: Any,
        name: str,
        factor: int,
    ) -> None:
        self.processor = processor
        self.evaluation = evaluation
        self.layer = Projecting(layer)
        self.name = name
        self.factor = factor
        self.n_heads: int = layer.heads
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

    # The names matter: diffusers passes only the arguments that it finds in this signature.
    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
        temb: Tensor | None = None,
    ) -> Any:
        optional = {"image_rotary_emb": image_rotary_emb, "temb": temb}
        given = {name: value for name, value in optional.items() if value is not None}
        out = self.processor(
            self.layer, hidden_states, encoder_hidden_states, attention_mask, **given
        )
        if attention_mask is not None:
            raise InputError("expected attention to the whole text, got a mask; remove it")
        with torch.no_grad():
            made = self.layer.take(len(self.evaluation.positions), self.evaluation.batch_size)
            self.add(attn, made, image_rotary_emb)
        return out

    def add(self, layer: nn.Module, made: Projections, rotary: Rotary | None) -> None:
        """Add the attention of one layer to the words at one evaluation."""
        now = self.evaluation
        weights = now.network.word_attention(layer, made, rotary, now.positions)
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


class HeadsRecorder(Recorder):
    """The same, and keeps each head of each layer apart as well."""

    def start(self, attention: Attention, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        super().start(attention, size_hw)
        n_images, n_columns, h, w = self.total.shape
        self.heads = self.total.new_zeros(n_images, n_columns, self.n_heads, h, w)
        self._grid(attention, size_hw).heads[self.name] = self.heads

    def add(self, layer: nn.Module, made: Projections, rotary: Rotary | None) -> None:
        """Add the attention of one layer to the words at one evaluation."""
        now = self.evaluation
        weights = now.network.word_attention(layer, made, rotary, now.positions)
        by_head = self._on_grid(weights.permute(0, 3, 1, 2))
        self.heads.addcmul_(by_head, now.weight)
        self._add(by_head.mean(dim=2))


class MatrixRecorder(Recorder):
    """The same for self-attention, of which all is kept; for one grid, as it is large.

    A larger grid is pooled before the softmax, so that what is computed and held has a bound.
    """

    def start(self, attention: Attention, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        self.matrix_hw, positions = matrix_hw(size_hw), self.evaluation.positions
        self.pool = AreaMean(size_hw, self.matrix_hw, positions.device)
        self._add_to(attention.matrix(self.matrix_hw, positions), size_hw)

    def add(self, layer: nn.Module, made: Projections, rotary: Rotary | None) -> None:
        """Add the attention of one layer to all pixels at one evaluation."""
        pooled = made._replace(q=self._pooled(made.q), k=self._pooled(made.k))
        matrix = self.evaluation.network.self_matrix(layer, pooled)
        self._add(matrix.mT.unflatten(-1, self.matrix_hw))

    def _pooled(self, of_pixels: Tensor) -> Tensor:
        return self.pool(self._on_grid(of_pixels.mT)).flatten(-2).mT
