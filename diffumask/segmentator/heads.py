"""Designs of heads on the hidden states of a VAE decoder, by name.

A head reduces each hidden state as soon as the decoder has it, and makes logits of what it kept.
Logits are "member b label h w" at the size of the image: an ensemble has several members.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffumask.errors import InputError

from .decoder_copy import DecoderCopy
from .features import Autoencoder, DecoderShape, decoder_shape
from .head import Head
from .pyramid import Pyramid
from .simple import LinearProbe, PixelMLPs

Logits = Float[Tensor, "member b label h w"]

DEFAULT_HEAD = "pyramid"
HEADS: dict[str, Callable[[Autoencoder, DecoderShape, int], Head]] = {
    "linear": LinearProbe,
    "pyramid": Pyramid,
    "decoder-copy": DecoderCopy,
    "mlp": PixelMLPs,
}


def new_head(design: str, vae: Autoencoder, n_labels: int, seed: int = 0) -> Head:
    """Make an untrained head of a design for an autoencoder, on its device, in float32.

    Raises InputError for an unknown design and an autoencoder of another kind.
    """
    if design not in HEADS:
        raise InputError(f"expected one of the heads {', '.join(HEADS)}, got {design!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = HEADS[design](vae, decoder_shape(vae), n_labels)
    return head.to(vae.device, torch.float32)


def n_parameters(module: nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def is_ensemble(head: Head) -> bool:
    """Whether a head has several members, which may disagree."""
    return isinstance(head, PixelMLPs)


def probabilities(logits: Logits) -> Float[Tensor, "b label h w"]:
    """Return the mean over members of what each takes for the probability of a label."""
    return logits.softmax(2).mean(0)


def disagreement(logits: Logits) -> Float[Tensor, "b h w"]:
    """Return the Jensen-Shannon divergence of the members in nats; 0 for a single one.

    Zhang et al. 2021 (DatasetGAN) drop the images of which the tenth of the pixels where it is
    highest has the highest mean.
    """
    of_each = logits.softmax(2)
    return _entropy(of_each.mean(0), 1) - _entropy(of_each, 2).mean(0)


def _entropy(shares: Tensor, axis: int) -> Tensor:
    return -torch.special.xlogy(shares, shares).sum(axis)


def reduced(head: Head, states: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Reduce hidden states that were kept whole, as training does.

    They are made contiguous: torch 2.13 on one CPU thread crashes in the backward pass of
    convolutions in the other layout.
    """
    return [
        None if state is None else head.reduce(place, state.contiguous())
        for place, state in enumerate(states)
    ]
