"""Guided filter (He et al. 2010): each plane becomes, in every window, linear in the colours."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from diffumask.types import Image

from .planes import normalised

REFERENCE_SIDE_PX = 512


@dataclass(frozen=True, slots=True)
class GuidedSettings:
    """Window radius in pixels of a 512-pixel image (shorter side), and the regulariser.

    `epsilon` is the variance of colours, in [0, 1], below which a window counts as flat.
    """

    radius_px: float = 60.0
    epsilon: float = 1e-4


def guided(
    image: Image,
    probabilities: Float32[np.ndarray, "candidate label h w"],
    settings: GuidedSettings = GuidedSettings(),
) -> Float32[np.ndarray, "candidate label h w"]:
    """Filter every plane with the image as guide; values that overshoot [0, 1] are clipped."""
    guide = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255
    radius = settings.radius_px * min(image.shape[:2]) / REFERENCE_SIDE_PX
    size_px = 2 * max(1, round(radius)) + 1
    mean = np.stack([_box(channel, size_px) for channel in guide])
    inverse = np.linalg.inv(_covariance(guide, mean, size_px, settings.epsilon)).astype(np.float32)
    inverse = np.ascontiguousarray(inverse.transpose(2, 3, 0, 1))
    result = np.empty(probabilities.shape, np.float32)
    for plane, out in zip(_flat(probabilities), _flat(result), strict=True):
        plane_mean = _box(plane, size_px)
        covariance = [_box(channel * plane, size_px) for channel in guide] - mean * plane_mean
        slopes = np.einsum("ijhw,jhw->ihw", inverse, covariance)
        offset = plane_mean - (slopes * mean).sum(0)
        out[:] = _box(offset, size_px)
        for slope, channel in zip(slopes, guide, strict=True):
            out += _box(slope, size_px) * channel
    return normalised(result)


def _covariance(
    guide: Float32[np.ndarray, "3 h w"],
    mean: Float32[np.ndarray, "3 h w"],
    size_px: int,
    epsilon: float,
) -> Float32[np.ndarray, "h w 3 3"]:
    """Return the covariance of the colours in the window of each pixel, made invertible."""
    covariance = np.empty((*guide.shape[1:], 3, 3), np.float32)
    for i, j in np.ndindex(3, 3):
        covariance[..., i, j] = _box(guide[i] * guide[j], size_px) - mean[i] * mean[j]
    return covariance + np.float32(epsilon) * np.eye(3, dtype=np.float32)


def _box(plane: Float32[np.ndarray, "h w"], size_px: int) -> Float32[np.ndarray, "h w"]:
    return cv2.blur(plane, (size_px, size_px), borderType=cv2.BORDER_REPLICATE)


def _flat(planes: Float32[np.ndarray, "candidate label h w"]) -> Float32[np.ndarray, "plane h w"]:
    return planes.reshape(-1, *planes.shape[2:])
