"""What a network sees in images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from .network import Network
from .segmenter import Segmenter

# Of any size each, as an underscore keeps an axis from having to agree with others.
AnyImage = UInt8[np.ndarray, "_h _w 3"]
AnyClassMap = UInt8[np.ndarray, "_h _w"]
Probabilities = Float32[np.ndarray, "c _h _w"]


def class_probabilities(
    network: Segmenter, images: Sequence[AnyImage], batch_size: int = 16
) -> list[Probabilities]:
    """Return the probability of each label at each pixel, in the size of each image.

    Images that follow one another and have one size are predicted together.
    """
    batches = _batches(images, batch_size)
    return [one for batch in batches for one in _logits(network, batch).softmax(1).cpu().numpy()]


def label_maps(
    network: Segmenter, images: Sequence[AnyImage], batch_size: int = 1
) -> list[Int64[np.ndarray, "_h _w"]]:
    """Return the label of each pixel; by default one image at a time, as logits are large."""
    batches = _batches(images, batch_size)
    return [one for batch in batches for one in _logits(network, batch).argmax(1).cpu().numpy()]


def class_maps(
    network: Network, images: Sequence[AnyImage], batch_size: int = 1
) -> list[AnyClassMap]:
    """Return the class id of each pixel, as `label_maps` returns its label."""
    found = label_maps(network, images, batch_size)
    return [network.labels.decode(labels.astype(np.uint8)) for labels in found]


def _batches(images: Sequence[AnyImage], batch_size: int) -> Iterator[list[AnyImage]]:
    for _, of_one_size in groupby(images, key=lambda image: image.shape):
        rest = list(of_one_size)
        yield from (rest[start : start + batch_size] for start in range(0, len(rest), batch_size))


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode; each of its modules has its own mode back on exit."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def _logits(network: Segmenter, images: list[AnyImage]) -> Float[Tensor, "b c h w"]:
    pixels = torch.from_numpy(np.stack(images)).to(network.device)
    with in_evaluation(network):
        return network.logits(pixels.permute(0, 3, 1, 2).float() / 255)
