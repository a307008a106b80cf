"""A head that is a copy of the decoder: its up blocks and its weights, with a new last layer."""

import copy
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from .features import Autoencoder, DecoderShape, after_middle
from .head import Head

MID_BLOCK = 1


class DecoderCopy(Head):
    """The decoder from its mid block on, taught to draw labels in place of colours.

    "Leverages some of the weights from the original decoder" (deepsense.ai, 2023) read at its
    largest.
    """

    def __init__(self, vae: Autoencoder, shape: DecoderShape, n_labels: int) -> None:
        super().__init__(vae, shape, n_labels)
        self.layers = copy.deepcopy(after_middle(vae))
        self.requires_grad_(True)
        self.out = nn.Conv2d(shape.channels[-1], n_labels, 3, padding=1)

    def reduce(self, place: int, state: Float[Tensor, "b c h w"]) -> Tensor | None:
        """Keep the output of the mid block alone."""
        return state.float() if place == MID_BLOCK else None

    def forward(self, kept: Sequence[Tensor | None]) -> Float[Tensor, "1 b label h w"]:
        """Return the logits."""
        (x,) = (one for one in kept if one is not None)
        return self.out(self.layers(x))[None]
