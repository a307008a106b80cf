"""Heat and thresholds to label probabilities, before the image has its say."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

# Odds per unit of heat; 10 makes a pixel 0.1 above its threshold 2.7 times as likely the object's.
# Against hard labels of odds 20 : 1, as in the code of Wu et al. 2023: benchmarks/results/masks.md.
SHARPNESS = 10.0


# How much surer a pixel is of the word that it attends to more: the power of shares of attention.
RIVALRY = 2.0
LEAST_SHARE = 1e-3  # so that a word without heat at a pixel still has a chance there


def label_probabilities(
    heats: Float32[np.ndarray, "word h w"],
    thresholds: Sequence[Sequence[float]],
    shares: Float32[np.ndarray, "word h w"] | None = None,
) -> Float32[np.ndarray, "candidate label h w"]:
    """Return the probability of each label under each candidate, a threshold for each word.

    Label 0 is the background, label c the c-th word. A word sees an object where its heat is above
    its threshold, by the logistic function of SHARPNESS times the difference. A pixel is background
    so far as no word sees one there; what is left goes to the words by what they see times their
    `shares` of the pixel (see `word_shares`), which None holds equal.
    """
    t = np.array(thresholds, np.float32).reshape(-1, len(heats), 1, 1)
    result = np.empty((len(t), len(heats) + 1, *heats.shape[1:]), np.float32)
    for planes, of_words in zip(
        result, t, strict=True
    ):  # one by one, in place: each fits the cache
        background, parts = planes[0], planes[1:]
        np.subtract(heats, of_words, out=parts)
        parts *= SHARPNESS
        np.exp(parts, out=parts)
        unlike = 1 / (1 + parts)
        parts *= unlike
        unlike.prod(axis=0, out=background)
        if shares is not None:
            parts *= shares
        parts *= (1 - background) / parts.sum(axis=0)
    return result


def likeliest(planes: Float32[np.ndarray, "label h w"]) -> UInt8[np.ndarray, "h w"]:
    """Return the label of each pixel whose plane is highest, the first of several.

    `argmax` over an axis that is not the last takes ten times as long.
    """
    labels = np.zeros(planes.shape[1:], np.uint8)
    highest = planes[0]
    for label, plane in enumerate(planes[1:], start=1):
        np.copyto(labels, label, where=plane > highest)
        highest = np.maximum(highest, plane)
    return labels


def word_shares(heats: Float32[np.ndarray, "word h w"]) -> Float32[np.ndarray, "word h w"]:
    """Return how probable each word is at a pixel that has an object; they sum to 1.

    In proportion to the heat of attention to the power of RIVALRY. Of attention as it was captured:
    propagation draws the right outline but carries a word over to objects that look alike.
    """
    parts = (heats + LEAST_SHARE) ** RIVALRY
    return (parts / parts.sum(axis=0)).astype(np.float32)
