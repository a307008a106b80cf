"""Cross-attention of the wanted words: its formula, and its running means per resolution."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from diffumask.errors import InputError

SizeHW = tuple[int, int]
Positions = tuple[int, ...]


class Attention:
    """Attention to the wanted words, averaged over heads, layers and steps as it comes.

    Image i is the i-th image of the pipeline's output. Only the columns of the wanted tokens are
    held, in fp32 on the device of the model: the size does not depend on the number of steps.
    """

    def __init__(self) -> None:
        self._columns: tuple[dict[str, Positions], ...] = ()
        self._sums: dict[SizeHW, Float32[Tensor, "image column h w"]] = {}
        self._counts: dict[SizeHW, int] = {}

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The wanted words of each image; empty until the pipeline ran."""
        return tuple(tuple(columns) for columns in self._columns)

    @property
    def maps(self) -> Mapping[SizeHW, Float32[Tensor, "image column h w"]]:
        """Mean attention by the (height, width) of the layers; empty until the pipeline ran.

        A value is the share of a pixel's attention that goes to the column's token, in [0, 1].
        """
        return {size: total / self._counts[size] for size, total in self._sums.items()}

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

    def add(self, size_hw: SizeHW, weights: Float32[Tensor, "image pixel column"]) -> None:
        """Add what one layer attends to at one step."""
        maps = weights.mT.unflatten(-1, size_hw)
        total = self._sums.get(size_hw)
        self._sums[size_hw] = maps if total is None else total.add_(maps)
        self._counts[size_hw] = self._counts.get(size_hw, 0) + 1


def word_attention(
    q: Float[Tensor, "image head pixel channel"],
    k: Float[Tensor, "image head key channel"],
    positions: Int64[Tensor, "image column"],
    scale: float,
) -> Float32[Tensor, "image pixel column"]:
    """Return the softmax attention to the keys at some positions, averaged over heads.

    exp(scale q.k_s - logsumexp_j(scale q.k_j)): every key counts in the denominator.
    """
    logits = scale * q.float() @ k.float().mT
    wanted = logits.gather(-1, positions[:, None, None].expand(*logits.shape[:-1], -1))
    return (wanted - logits.logsumexp(-1, keepdim=True)).exp().mean(dim=1)


def grid_size(latent_hw: SizeHW, n_pixels: int) -> SizeHW:
    """Halve the size of the latents, rounding up, until it has the pixels of the layer."""
    h, w = latent_hw
    while h * w > n_pixels:
        h, w = (h + 1) // 2, (w + 1) // 2
    if h * w != n_pixels:
        raise ValueError(f"expected a layer on {latent_hw} latents halved, got {n_pixels} pixels")
    return h, w
