"""A head that sees every hidden state through a few channels, and far around each pixel.

The latents of a VAE hold what a place looks like, not what it is part of. So the head goes down
to a grid of 1/4 of the latents' and up again, as a small U-Net whose inputs are the hidden states.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from .features import Autoencoder, DecoderShape
from .head import Head, Projection, enlarged

WIDTHS = (12, 24, 32, 48, 64, 64)  # at 1, 1/2, 1/4, ... of the image, of a decoder of 128 channels
USUAL_CHANNELS = 128
CONTEXT_LEVELS = 2  # below the latents
KERNEL = 5
GROUPS = 4


class Pyramid(Head):
    """1x1 projections of every hidden state, summed at each size, then down and up again."""

    def __init__(self, vae: Autoencoder, shape: DecoderShape, n_labels: int) -> None:
        super().__init__(vae, shape, n_labels)
        levels = [factor.bit_length() - 1 for factor in shape.factors]
        widths = _widths(max(shape.channels), max(levels) + 1 + CONTEXT_LEVELS)
        self.levels = levels
        self.projections = nn.ModuleList(
            Projection(shape, place, widths[level]) for place, level in enumerate(levels)
        )
        self.down = nn.ModuleList(_Down(wide, narrow) for wide, narrow in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(low, high, 1) for high, low in pairwise(widths))
        self.blocks = nn.ModuleList(_Block(width) for width in widths[1:])
        self.out = nn.Sequential(
            nn.Conv2d(widths[0], widths[0], 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(widths[0], n_labels, 1),
        )

    def reduce(self, place: int, state: Float[Tensor, "b c h w"]) -> Tensor | None:
        """Keep the projection of each place."""
        return self.projections[place](state)

    def forward(self, kept: Sequence[Tensor | None]) -> Float[Tensor, "1 b label h w"]:
        """Return the logits."""
        seen: dict[int, Tensor] = {}
        for level, one in zip(self.levels, kept, strict=True):
            if one is not None:
                seen[level] = seen[level] + one if level in seen else one
        grids = [seen[0]]
        for level, down in enumerate(self.down, start=1):
            low = down(grids[-1])
            grids.append(low + seen[level] if level in seen else low)
        x = self.blocks[-1](grids[-1])
        for level in reversed(range(1, len(grids) - 1)):
            x = self.blocks[level - 1](self._added(grids[level], x, level))
        return self.out(self._added(grids[0], x, 0))[None]

    def _added(self, grid: Tensor, below: Tensor, level: int) -> Tensor:
        """Add the grid below, which is a row or column too large where this one is of odd size."""
        height, width = grid.shape[2:]
        return grid + enlarged(self.up[level](below), 2)[:, :, :height, :width]


class _Down(nn.Module):
    """Half the size: each channel by itself, then all together."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out low_h low_w"]:
        return self.layers(x)


class _Block(nn.Module):
    """A residual block: a wide convolution of each channel, then a small MLP at each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels),
            nn.GroupNorm(GROUPS, channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.SiLU(),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.layers(x)


def _widths(channels: int, n_levels: int) -> list[int]:
    """Widen with the root of the decoder's width, to a multiple of the groups."""
    scale = max(1.0, (channels / USUAL_CHANNELS) ** 0.5)
    usual = [WIDTHS[min(level, len(WIDTHS) - 1)] for level in range(n_levels)]
    return [round(width * scale / GROUPS) * GROUPS for width in usual]
