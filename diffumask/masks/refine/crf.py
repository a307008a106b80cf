"""Fully connected CRF (Kraehenbuehl & Koltun 2011), refined by mean field for many candidates.

Energies are Potts: a pixel is drawn to the labels of pixels that are near (Gaussian kernel) or near
and of similar colour (bilateral kernel). Both kernels are normalised symmetrically, D^-1/2 K D^-1/2
with D the row sums; a pixel counts as its own neighbour. They are built once for an image and then
applied to all candidates and labels at once.

What approximates what: the bilateral kernel is filtered on a permutohedral lattice (as in the
authors' code), and the mean field runs on a smaller grid of area means, whose messages go to the
pixels by joint bilateral upsampling; the label probabilities of the pixels themselves stay at full
resolution. With `shrink=1` only the lattice approximates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from diffumask.types import Image

from .grid import grid_size, joint_upsample, shrink, shrink_image
from .lattice import build_lattice

REFERENCE_SIDE_PX = 512
LEAST_PROBABILITY = 1e-6
LARGEST_LOGIT = 60.0  # the exponentials of many of them sum within float32
GAUSSIAN_REACH = 5  # standard deviations

Values = Float32[np.ndarray, "pixel column"]


@dataclass(frozen=True, slots=True)
class CrfSettings:
    """Kernels and grid. The defaults of the kernels are those of DiffuMask's final mask.

    Widths in pixels (`_px`) are for an image of 512 pixels on its shorter side and scale with it.
    The mean field runs on a grid smaller by `shrink`, but of no less than `least_side` cells on the
    shorter side; `python -m benchmarks refine_speed` measures what that loses.
    """

    iterations: int = 10
    gaussian_px: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_px: float = 80.0
    bilateral_rgb: float = 13.0
    bilateral_weight: float = 10.0
    shrink: float = 4.0
    least_side: int = 128


def crf_wide(
    image: Image, probabilities: Float32[np.ndarray, "candidate label h w"]
) -> Float32[np.ndarray, "candidate label h w"]:
    """Refine as `crf` does, by a bilateral kernel that reaches further and over softer edges.

    It holds on to thin parts: benchmarks/results/masks.md.
    """
    return crf(image, probabilities, CrfSettings(bilateral_px=160.0, bilateral_rgb=20.0))


def crf(
    image: Image,
    probabilities: Float32[np.ndarray, "candidate label h w"],
    settings: CrfSettings = CrfSettings(),
) -> Float32[np.ndarray, "candidate label h w"]:
    """Return the mean-field marginals of all candidates; `probabilities` are the unary terms.

    Probabilities below 1e-6 count as 1e-6. Holes are kept.
    """
    candidates, labels, h, w = probabilities.shape
    if candidates == 0 or labels < 2 or settings.iterations == 0:
        return probabilities.copy()
    result = np.empty_like(probabilities)
    for planes, out in zip(probabilities, result, strict=True):
        _log_odds(planes, out[1:])
    size_hw = grid_size((h, w), settings.shrink, settings.least_side)
    small = shrink_image(image, size_hw)
    unary = shrink(result[:, 1:], size_hw).reshape(candidates * (labels - 1), -1).T
    message = _mean_field(small, np.ascontiguousarray(unary), labels - 1, settings)
    messages = joint_upsample(image, small, message).reshape(candidates, labels - 1, h, w)
    for out, received in zip(result, messages, strict=True):  # one by one: each fits the cache
        out[1:] += received
        out[0] = _softmax(out[1:], 0)[0]
    return result


def _log_odds(
    planes: Float32[np.ndarray, "label h w"], out: Float32[np.ndarray, "free h w"]
) -> None:
    """Write the log odds of each label against label 0."""
    planes = np.maximum(planes, LEAST_PROBABILITY)
    np.divide(planes[1:], planes[0], out=out)
    np.log(out, out=out)


def _mean_field(
    image: Float32[np.ndarray, "h w 3"],
    unary: Values,
    free: int,
    settings: CrfSettings,
) -> Values:
    """Return the last message; columns are candidates, and labels but the background in each.

    Probabilities sum to 1, so what the background receives is what all labels together receive
    less what the others do: one plane is saved.
    """
    send = _kernels(image, settings)
    whole = send(np.ones((len(unary), 1), np.float32))
    logits = unary.copy()
    message = logits
    for _ in range(settings.iterations):
        _softmax(logits.reshape(len(unary), -1, free), 2)
        message = send(logits)
        by_label = message.reshape(len(unary), -1, free)
        by_label += by_label.sum(2, keepdims=True)
        message -= whole
        np.add(unary, message, out=logits)
    return message


def _kernels(
    image: Float32[np.ndarray, "h w 3"], settings: CrfSettings
) -> Callable[[Values], Values]:
    """Return the sum of both normalised kernels, as a function of probabilities."""
    h, w = image.shape[:2]
    scale = min(h, w) / REFERENCE_SIDE_PX
    ones = np.ones((h * w, 1), np.float32)
    y, x = np.mgrid[:h, :w].astype(np.float32) / (settings.bilateral_px * scale)
    features = np.dstack([y, x, image / np.float32(settings.bilateral_rgb)])
    lattice = build_lattice(features.reshape(h * w, 5))
    weight = np.float32(np.sqrt(settings.bilateral_weight))
    far = lattice.scaled(weight / np.sqrt(lattice.filter(ones)[:, 0]))
    half = _half_gaussian(settings.gaussian_px * scale)
    weight = np.float32(np.sqrt(settings.gaussian_weight))
    root = weight / np.sqrt(_blurred(ones.reshape(h, w, 1), half))

    def send(values: Values) -> Values:
        message = far.filter(values)
        near = _blurred(values.reshape(h, w, -1) * root, half)
        near *= root
        message += near.reshape(values.shape)
        return message

    return send


def _half_gaussian(sigma: float) -> Float32[np.ndarray, " distance"]:
    """Return the Gaussian of each distance in pixels that counts."""
    return np.exp(
        -0.5 * (np.arange(int(GAUSSIAN_REACH * sigma) + 1) / sigma) ** 2, dtype=np.float32
    )


def _blurred(
    values: Float32[np.ndarray, "h w column"], half: Float32[np.ndarray, " distance"]
) -> Float32[np.ndarray, "h w column"]:
    """Sum over the pixels around, weighted by a Gaussian; beyond the border is nothing."""
    for axis in (0, 1):
        before = values.swapaxes(0, axis)
        values = values * half[0]
        after = values.swapaxes(0, axis)
        for distance in range(1, min(len(half), len(before))):
            weighted = before * half[distance]
            after[distance:] += weighted[:-distance]
            after[:-distance] += weighted[distance:]
    return values


def _softmax(logits: np.ndarray, label_axis: int) -> np.ndarray:
    """Turn log odds against a label that is left out into probabilities, in place.

    Returns the probabilities of the label that is left out.
    """
    np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT, out=logits)
    np.exp(logits, out=logits)
    left_out = 1 / (1 + logits.sum(label_axis, keepdims=True))
    logits *= left_out
    return left_out
