"""Heads that look at each pixel alone: a linear probe, and an ensemble of small MLPs."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .features import Autoencoder, DecoderShape
from .head import Head, Projection, enlarged


class LinearProbe(Head):
    """A linear classifier of the pixels of the last up block."""

    def __init__(self, vae: Autoencoder, shape: DecoderShape, n_labels: int) -> None:
        super().__init__(vae, shape, n_labels)
        self.projection = Projection(shape, len(shape.channels) - 1, n_labels)

    def reduce(self, place: int, state: Float[Tensor, "b c h w"]) -> Tensor | None:
        """Keep the logits of the last place alone."""
        return self.projection(state) if place == self.projection.place else None

    def forward(self, kept: Sequence[Tensor | None]) -> Float[Tensor, "1 b label h w"]:
        """Return the logits."""
        (logits,) = (one for one in kept if one is not None)
        return logits[None]


class PixelMLPs(Head):
    """An ensemble of MLPs on all hidden states of a pixel (DatasetGAN, Zhang et al. 2021).

    Their first layer looks at each hidden state before it is enlarged, which is the same function
    at a fraction of the memory. Unlike theirs: 5 members for 10, of 24 and 16 units for 128 and
    32, without batch normalisation, trained together.
    """

    members = 5
    widths = (24, 16)

    def __init__(self, vae: Autoencoder, shape: DecoderShape, n_labels: int) -> None:
        super().__init__(vae, shape, n_labels)
        first = self.members * self.widths[0]
        places = range(len(shape.channels))
        self.projections = nn.ModuleList(Projection(shape, place, first) for place in places)
        self.hidden = _OfEachMember(self.members, *self.widths)
        self.out = _OfEachMember(self.members, self.widths[-1], n_labels)

    def reduce(self, place: int, state: Float[Tensor, "b c h w"]) -> Tensor | None:
        """Keep what the first layer makes of each place."""
        return self.projections[place](state)

    def forward(self, kept: Sequence[Tensor | None]) -> Float[Tensor, "member b label h w"]:
        """Return the logits of every member."""
        by_factor: dict[int, Tensor] = {}
        for factor, one in zip(self.shape.factors, kept, strict=True):
            if one is not None:
                by_factor[factor] = by_factor[factor] + one if factor in by_factor else one
        height, width = by_factor[1].shape[2:]
        first = torch.zeros((), device=by_factor[1].device)
        for factor, one in by_factor.items():
            first = first + enlarged(one, factor)
        pixels = torch.relu(first).flatten(2).unflatten(1, (self.members, -1))
        logits = self.out(torch.relu(self.hidden(pixels)))
        return logits.unflatten(-1, (height, width)).transpose(0, 1)


class _OfEachMember(nn.Module):
    """A linear layer for each member; a grouped convolution takes ten times as long on a CPU."""

    def __init__(self, members: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        limit = in_channels**-0.5
        self.weight = nn.Parameter(torch.empty(members, out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(members, out_channels, 1))
        nn.init.uniform_(self.weight, -limit, limit)

    def forward(
        self, x: Float[Tensor, "b member inner pixel"]
    ) -> Float[Tensor, "b member outer pixel"]:
        return self.weight @ x + self.bias
