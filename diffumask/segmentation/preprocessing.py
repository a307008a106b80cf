"""What becomes of images before a network sees them, as its preprocessor_config.json says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SHORTEST_EDGE = "shortest_edge"
UNIT_RANGE = (0.5, 0.5, 0.5)  # as mean and deviation, to get from [0, 1] to [-1, 1]
Colour = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resizes images to `size_hw`, or so that their shorter side fits, and normalises them.

    Without a size an image keeps its own; `normalisation` is a mean and a deviation of each colour.
    """

    shorter_side_px: int | None = None
    size_hw: tuple[int, int] | None = None
    normalisation: tuple[Colour, Colour] | None = (UNIT_RANGE, UNIT_RANGE)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "Preprocessing":
        """Read a preprocessor_config.json; an empty one resizes nothing, and gives [-1, 1]."""
        size = config.get("size") if config.get("do_resize", True) else None
        size = {"height": size, "width": size} if isinstance(size, int) else size or {}
        mean, deviation = (
            tuple(map(float, config.get(key, UNIT_RANGE))) for key in ("image_mean", "image_std")
        )
        return cls(
            size.get(SHORTEST_EDGE),
            (size["height"], size["width"]) if {"height", "width"} <= set(size) else None,
            (mean, deviation) if config.get("do_normalize", True) else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the preprocessor_config.json of a preprocessing by the shorter side."""
        size = {"size": {SHORTEST_EDGE: self.shorter_side_px}} if self.shorter_side_px else {}
        mean, deviation = self.normalisation or (None, None)
        return {
            "do_resize": self.shorter_side_px is not None,
            **size,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": self.normalisation is not None,
            "image_mean": mean,
            "image_std": deviation,
        }

    def __call__(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 _h _w"]:
        """Make the input of a network from pixels in [0, 1]."""
        size_hw = self._resized_hw((pixels.shape[2], pixels.shape[3]))
        if size_hw != tuple(pixels.shape[2:]):
            pixels = functional.interpolate(pixels, size_hw, mode="bilinear", antialias=True)
        return self.normalised(pixels)

    def normalised(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Normalise pixels in [0, 1], in the size that they have."""
        if self.normalisation is None:
            return pixels
        mean, deviation = (
            torch.tensor(colour, device=pixels.device)[:, None, None]
            for colour in self.normalisation
        )
        return (pixels - mean) / deviation

    def _resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        if self.size_hw or not self.shorter_side_px:
            return self.size_hw or size_hw
        scale = self.shorter_side_px / min(size_hw)
        return round(size_hw[0] * scale), round(size_hw[1] * scale)
