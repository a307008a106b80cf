"""Probability planes: from hard labels, and back to a sum of one."""

import numpy as np
from jaxtyping import Float32, Integer


def from_labels(
    labels: Integer[np.ndarray, "candidate h w"], n_labels: int, confidence: float
) -> Float32[np.ndarray, "candidate label h w"]:
    """Return planes that give each pixel's label `confidence` and share the rest evenly.

    `confidence` is the probability of the given label, in [1 / n_labels, 1). The unary of the
    released DiffuMask code, `gt_prob` 0.5 over 21 labels, is 20 : 1 for the given label against
    each other one; with two labels that is a confidence of 20 / 21. With one label all
    probability is its own. Raises `ValueError` for labels and confidences out of range.
    """
    if n_labels < 1:
        raise ValueError(f"expected at least one label, got n_labels = {n_labels}")
    if labels.size and not 0 <= labels.min() <= labels.max() < n_labels:
        got = f"{labels.min()}..{labels.max()}"
        raise ValueError(f"expected labels in 0..{n_labels - 1}, got {got}")
    if n_labels == 1:
        return np.ones((len(labels), 1, *labels.shape[1:]), np.float32)
    if not 1 / n_labels <= confidence < 1:
        raise ValueError(f"expected a confidence in [1/{n_labels}, 1), got {confidence}")
    given, other = np.float32(confidence), np.float32((1 - confidence) / (n_labels - 1))
    planes = np.empty((len(labels), n_labels, *labels.shape[1:]), np.float32)
    for label in range(n_labels):
        planes[:, label] = np.where(labels == label, given, other)
    return planes


def normalised(
    planes: Float32[np.ndarray, "candidate label h w"],
) -> Float32[np.ndarray, "candidate label h w"]:
    """Clip planes to [0, 1] and divide by their sum over the labels, in place."""
    np.clip(planes, 0, 1, out=planes)
    total = planes.sum(1, keepdims=True)
    planes /= np.where(total > 0, total, 1)
    planes[:, :1] += total <= 0  # nothing left: background
    return planes
