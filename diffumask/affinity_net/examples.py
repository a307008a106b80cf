"""Images with their sure cells, as the network is trained on them."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diffumask.errors import InputError
from diffumask.masks.enlarge import enlarge
from diffumask.types import BACKGROUND_ID, IGNORE_ID, GridHeat, Image

from .network import STRIDE, to_pixels, working_image
from .seeds import Seeds, SeedSettings, confident_seeds

SURE_SHARE = 0.75  # of a cell's pixels that have its label
JITTER = 0.3  # of brightness, contrast and saturation


def sure_examples(
    images: Sequence[Image],
    heats: Sequence[Mapping[str, GridHeat]],
    settings: SeedSettings,
    side: int,
) -> tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n cell_h cell_w"]]:
    """Return the images that have sure cells, at most `side` pixels long, and the cells' labels.

    Raises `InputError` for images of several sizes, and where none has sure cells.
    """
    if len(images) != len(heats):
        raise ValueError(f"expected heat maps per image, got {len(heats)} for {len(images)}")
    sizes = {image.shape[:2] for image in images}
    if len(sizes) != 1:
        raise InputError(f"expected images of one size, got {sorted(sizes) or 'none'}")
    pairs = []
    for image, of_words in zip(images, heats, strict=True):
        enlarged = {word: enlarge(heat, image.shape[:2]) for word, heat in of_words.items()}
        small = working_image(image, side)
        cells_hw = tuple(-(-side // STRIDE) for side in small.shape[:2])
        labels = _cells(confident_seeds(image, enlarged, settings), cells_hw)
        if (labels == BACKGROUND_ID).any() and ((labels > 0) & (labels < IGNORE_ID)).any():
            pairs.append((small, labels))
    if not pairs:
        raise InputError(
            f"expected heat maps that are sure of an object and of background, got none in"
            f" {len(images)} images; make more or other images"
        )
    small, labels = zip(*pairs, strict=True)
    return np.stack(small), np.stack(labels)


def _cells(labels: Seeds, cells_hw: tuple[int, int]) -> UInt8[np.ndarray, "cell_h cell_w"]:
    """Give each cell the label that nearly all its pixels have, else leave it neutral."""
    h, w = cells_hw
    values = np.unique(labels)
    shares = np.stack(
        [
            cv2.resize((labels == value).astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
            for value in values
        ]
    )
    return np.where(shares.max(0) >= SURE_SHARE, values[shares.argmax(0)], IGNORE_ID).astype(
        np.uint8
    )


def augmented(
    images: UInt8[np.ndarray, "n h w 3"],
    labels: UInt8[np.ndarray, "n cell_h cell_w"],
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "n 3 h w"], UInt8[Tensor, "n cell_h cell_w"]]:
    """Mirror half of the images, and change brightness, contrast and saturation of all."""
    n = len(images)
    mirrored = rng.random(n) < 0.5
    images, labels = images.copy(), labels.copy()
    images[mirrored], labels[mirrored] = images[mirrored, :, ::-1], labels[mirrored, :, ::-1]
    pixels = to_pixels(images)
    shift, contrast, saturation = torch.from_numpy(
        rng.uniform(-JITTER, JITTER, (3, n, 1, 1, 1)).astype(np.float32)
    )
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + (1 + saturation) * (pixels - grey)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (1 + contrast) * (pixels - mean) + shift, torch.from_numpy(labels)
