"""GrabCut (Rother et al. 2004, OpenCV): colour models of an object and of all the rest."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from diffumask.types import Image

from .grid import grid_size, joint_upsample, shrink, shrink_image
from .planes import from_labels


@dataclass(frozen=True, slots=True)
class GrabcutSettings:
    """Where the trimap is sure, and how much the answer says.

    The probabilities are smoothed by `smoothing` (share of the shorter side, standard deviation),
    so that hard labels leave a band that is open; a pixel below `surely_not` is the rest and one
    above `surely` is the object.
    """

    iterations: int = 3
    smoothing: float = 0.02
    surely_not: float = 0.05
    surely: float = 0.95
    confidence: float = 0.95


def grabcut(
    image: Image,
    probabilities: Float32[np.ndarray, "candidate label h w"],
    settings: GrabcutSettings = GrabcutSettings(),
) -> Float32[np.ndarray, "candidate label h w"]:
    """Cut each label but the background out of the rest, one label at a time.

    Where several labels claim a pixel the most probable of them has it; one that none claims is
    background. A label that is sure nowhere, or everywhere, keeps the pixels where it is above
    1/2. Works on a grid of at least 64 cells on the shorter side.
    """
    size_hw = grid_size((image.shape[0], image.shape[1]))
    small_image = shrink_image(image, size_hw)
    pixels = small_image.round().astype(np.uint8)
    small = shrink(probabilities, size_hw)
    claims = np.full_like(small, 0.5)  # of the background
    for candidate in range(len(small)):
        for label in range(1, small.shape[1]):
            cut = _cut(pixels, small[candidate, label], settings)
            claims[candidate, label] = cut + small[candidate, label] - 1
    labels = claims.argmax(1)
    result = from_labels(labels, small.shape[1], settings.confidence)
    columns = result.reshape(-1, size_hw[0] * size_hw[1]).T
    planes = joint_upsample(image, small_image, np.ascontiguousarray(columns))
    return planes.reshape(probabilities.shape)


def _cut(
    pixels: UInt8[np.ndarray, "h w 3"],
    probability: Float32[np.ndarray, "h w"],
    settings: GrabcutSettings,
) -> Float32[np.ndarray, "h w"]:
    """Return 1 where the object is and 0 elsewhere."""
    sigma = settings.smoothing * min(probability.shape)
    smooth = cv2.GaussianBlur(probability, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    trimap = np.where(probability > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[smooth < settings.surely_not] = cv2.GC_BGD
    trimap[smooth > settings.surely] = cv2.GC_FGD
    is_object = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if is_object.any() and not is_object.all():
        cv2.setRNGSeed(0)  # its clustering of colours starts at random
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(
            pixels, trimap, (0, 0, 0, 0), *models, settings.iterations, cv2.GC_INIT_WITH_MASK
        )
        is_object = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return is_object.astype(np.float32)
