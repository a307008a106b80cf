"""What every head is, and the layer by which they look at hidden states."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .features import Autoencoder, DecoderShape

LEAST_STD = 1e-4


class Head(nn.Module):
    """A head for one kind of decoder; made as HEAD(vae, shape, n_labels), which keeps no VAE."""

    def __init__(self, vae: Autoencoder, shape: DecoderShape, n_labels: int) -> None:
        super().__init__()
        self.shape, self.n_labels = shape, n_labels

    def reduce(self, place: int, state: Float[Tensor, "b c h w"]) -> Tensor | None:
        """Return what the head needs of the hidden state of a place."""
        raise NotImplementedError

    def forward(self, kept: Sequence[Tensor | None]) -> Float[Tensor, "member b label h w"]:
        """Return logits from what `reduce` returned for each place."""
        raise NotImplementedError

    @torch.no_grad()
    def calibrate(self, states: Sequence[Tensor | None]) -> None:
        """Set the scale of the inputs from the hidden states of some images."""
        for module in self.modules():
            state = states[module.place] if isinstance(module, Projection) else None
            if isinstance(module, Projection) and state is not None:
                values = state.float()
                module.mean.copy_(values.mean((0, 2, 3)))
                module.std.copy_(values.std((0, 2, 3)).clamp(min=LEAST_STD))


class Projection(nn.Module):
    """A 1x1 convolution of standardised channels, done as one convolution."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: DecoderShape, place: int, out_channels: int) -> None:
        super().__init__()
        self.place = place
        self.convolution = nn.Conv2d(shape.channels[place], out_channels, 1)
        self.register_buffer("mean", torch.zeros(shape.channels[place]))
        self.register_buffer("std", torch.ones(shape.channels[place]))

    def forward(self, state: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h w"]:
        """Project in the precision of the state; return float32."""
        weight = self.convolution.weight / self.std[None, :, None, None]
        assert self.convolution.bias is not None
        bias = self.convolution.bias - weight[:, :, 0, 0] @ self.mean
        return functional.conv2d(state, weight.to(state.dtype), bias.to(state.dtype)).float()


def enlarged(x: Float[Tensor, "b c h w"], times: int) -> Tensor:
    """Enlarge bilinearly by a whole number."""
    if times == 1:
        return x
    return functional.interpolate(x, scale_factor=float(times), mode="bilinear")
