"""What a network sees in images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn
from torch.nn import functional

from .networks import Network

# Of any size each, as an underscore keeps an axis from having to agree with others.
AnyImage = UInt8[np.ndarray, "_h _w 3"]
AnyClassMap = UInt8[np.ndarray, "_h _w"]
Probabilities = Float32[np.ndarray, "c _h _w"]


def class_probabilities(
    network: Network, images: Sequence[AnyImage], batch_size: int = 16
) -> list[Probabilities]:
    """Return the probability of each label at each pixel, in the size of each image.

    Images that follow one another and have one size are predicted together.
    """
    return [one for batch in _batches(images, batch_size) for one in _predict(network, batch)]


def class_maps(
    network: Network, images: Sequence[AnyImage], batch_size: int = 16
) -> list[AnyClassMap]:
    """Return the class id of each pixel."""
    return [
        network.labels.decode(one.argmax(0).astype(np.uint8))
        for batch in _batches(images, batch_size)
        for one in _predict(network, batch)
    ]


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
def _predict(network: Network, images: list[AnyImage]) -> Float32[np.ndarray, "b c h w"]:
    pixels = torch.from_numpy(np.stack(images)).to(network.device)
    pixels = pixels.permute(0, 3, 1, 2).float() / 255
    size_hw = (pixels.shape[2], pixels.shape[3])
    if network.shorter_side_px not in (None, min(size_hw)):
        scale = network.shorter_side_px / min(size_hw)
        small_hw = tuple(round(side * scale) for side in size_hw)
        pixels = functional.interpolate(pixels, small_hw, mode="bilinear", antialias=True)
    with in_evaluation(network):
        logits = network.logits(pixels)
    if logits.shape[2:] != size_hw:
        logits = functional.interpolate(logits, size_hw, mode="bilinear")
    return logits.softmax(1).cpu().numpy()
