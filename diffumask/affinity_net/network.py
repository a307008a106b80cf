"""The network: a small residual network whose features tell which cells belong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from diffumask.errors import InputError
from diffumask.types import Image

STRIDE = 4  # of the first stage, by which a cell of the features is larger than a pixel
Offset = tuple[int, int]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Widths of the network, and what it sees.

    `side` is the longest side of an image in pixels; larger ones are shrunk. `radius` is how far
    apart, in cells, two cells can be told alike: 5 in Ahn & Kwak 2018.
    """

    embedding_size: int = 32
    hidden_sizes: tuple[int, ...] = (32, 64, 128)
    depths: tuple[int, ...] = (2, 2, 2)
    features: int = 16
    side: int = 256
    radius: int = 5

    def __post_init__(self) -> None:
        for name in ("side", "radius"):
            if getattr(self, name) < 1:
                raise InputError(f"expected a {name} of 1 or more, got {getattr(self, name)}")


class AffinityNetwork(nn.Module):
    """Features of each cell; cells i and j belong together by exp(-|f_i - f_j|_1).

    The backbone is a ResNet of transformers, untrained at first; its stages meet at the finest,
    as in Ahn & Kwak 2018, each through a 1x1 convolution.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = ResNetModel(
            ResNetConfig(
                embedding_size=config.embedding_size,
                hidden_sizes=list(config.hidden_sizes),
                depths=list(config.depths),
                layer_type="basic",
            )
        )
        self.merge = nn.ModuleList(
            nn.Conv2d(width, config.features, 1) for width in config.hidden_sizes
        )
        self.head = nn.Conv2d(config.features * len(config.hidden_sizes), config.features, 1)

    def forward(
        self, pixels: Float[Tensor, "image 3 h w"]
    ) -> Float[Tensor, "image feature cell_h cell_w"]:
        """Return the features; pixels are in [-1, 1]."""
        outputs: Any = self.backbone(pixels, output_hidden_states=True)
        stages = outputs.hidden_states[1:]
        size_hw = stages[0].shape[-2:]
        merged = [
            functional.interpolate(merge(stage), size_hw, mode="bilinear")
            for merge, stage in zip(self.merge, stages, strict=True)
        ]
        return self.head(functional.relu(torch.cat(merged, dim=1)))


def to_pixels(images: UInt8[np.ndarray, "image h w 3"]) -> Float[Tensor, "image 3 h w"]:
    """Return images as the network takes them."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2) / 127.5 - 1


def half_disc(radius: int) -> Iterator[Offset]:
    """Return the offsets (down, right) within a radius, one of each two opposite ones."""
    for down in range(radius + 1):
        for right in range(-radius, radius + 1):
            if 0 < down**2 + right**2 <= radius**2 and (down > 0 or right > 0):
                yield down, right


def pair_slices(offset: Offset, size_hw: tuple[int, int]) -> tuple[Any, Any]:
    """Return where all pairs of cells at an offset, both on the grid, begin and end."""
    (down, right), (h, w) = offset, size_hw
    left = max(0, -right)
    first = (..., slice(0, max(0, h - down)), slice(left, max(left, w - max(0, right))))
    second = (..., slice(min(down, h), h), slice(max(0, right), max(0, w - left)))
    return first, second


def distances(
    features: Float[Tensor, "image feature h w"], offsets: list[Offset]
) -> list[Float[Tensor, "image _h _w"]]:
    """Return |f_i - f_j|_1 of all pairs at each offset."""
    size_hw = (features.shape[-2], features.shape[-1])
    slices = (pair_slices(offset, size_hw) for offset in offsets)
    return [(features[first] - features[second]).abs().sum(1) for first, second in slices]


def working_image(image: Image, side: int) -> UInt8[np.ndarray, "_small_h _small_w 3"]:
    """Shrink an image whose longer side is more than `side` pixels."""
    h, w = image.shape[:2]
    scale = min(1.0, side / max(h, w))
    size_wh = (max(1, round(w * scale)), max(1, round(h * scale)))
    return image if scale == 1 else cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
