"""A pretrained semantic segmentation network as a judge of images."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.models import load_segmenter
from diffumask.types import Image, name_key

from .output import label_logits

SHORTER_SIDE = "shortest_edge"
UNIT_RANGE = [0.5, 0.5, 0.5]  # as mean and deviation, to get from [0, 1] to [-1, 1]


@dataclass(frozen=True, slots=True)
class Judge:
    """A network that names what every pixel shows; called with an image it returns label ids."""

    network: Any
    preparation: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[int, str]:
        """The name of each label."""
        return self.network.config.id2label

    @torch.no_grad()
    def __call__(self, image: Image) -> Int64[np.ndarray, "h w"]:
        """Return the label of each pixel."""
        pixels = prepare(image, self.preparation).to(self.network.device)
        logits = label_logits(self.network(pixel_values=pixels))
        enlarged = functional.interpolate(logits, image.shape[:2], mode="bilinear")
        return enlarged[0].argmax(0).cpu().numpy()


def load_judge(model: str, device: str = "auto") -> Judge:
    """Load a network by its folder or hub id. Raises InputError for what cannot be loaded."""
    return Judge(*load_segmenter(model, device))


def prepare(image: Image, preparation: Mapping[str, Any]) -> Float[Tensor, "1 3 height width"]:
    """Make the input of a network from an image, by its preprocessor_config.json.

    Resizes and normalises as the file says; without one, or without a mean and deviation in it,
    values are in [-1, 1], and without a size the image keeps its own.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    size_hw = _size_hw(image.shape[:2], preparation)
    if size_hw != tuple(pixels.shape[2:]):
        pixels = functional.interpolate(pixels, size_hw, mode="bilinear", antialias=True)
    if not preparation.get("do_normalize", True):
        return pixels
    mean, deviation = (
        torch.tensor(preparation.get(key, UNIT_RANGE))[:, None, None]
        for key in ("image_mean", "image_std")
    )
    return (pixels - mean) / deviation


def label_ids(labels: Mapping[int, str], names: Sequence[str]) -> list[int]:
    """Return the ids of the labels that go by one of the names of a class.

    A label may list several words, separated by commas; case, spaces and hyphens do not count.
    Raises InputError that suggests near labels.
    """
    keys = {name_key(name) for name in names}
    words = {index: label.split(",") for index, label in labels.items()}
    found = [i for i, of_label in words.items() if keys & set(map(name_key, of_label))]
    if not found:
        near = difflib.get_close_matches(names[0], labels.values(), n=3, cutoff=0.4)
        hint = f"; near ones are {', '.join(map(repr, near))}" if near else ""
        raise InputError(
            f"expected a network with a label for {names[0]!r}, got {len(labels)} others{hint}"
        )
    return found


def _size_hw(size_hw: tuple[int, ...], preparation: Mapping[str, Any]) -> tuple[int, ...]:
    size = preparation.get("size") if preparation.get("do_resize", True) else None
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return size["height"], size["width"]
    if isinstance(size, dict) and SHORTER_SIDE in size:
        scale = size[SHORTER_SIDE] / min(size_hw)
        return tuple(round(side * scale) for side in size_hw)
    return size_hw
