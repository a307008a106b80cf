"""Heat and thresholds to label probabilities, before the image has its say."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

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
    odds = np.exp(SHARPNESS * (heats - t))
    background = (1 / (1 + odds)).prod(axis=1, keepdims=True)
    parts = odds / (1 + odds)
    if shares is not None:
        parts *= shares
    parts *= (1 - background) / parts.sum(axis=1, keepdims=True)
    return np.concatenate([background, parts], axis=1)


def word_shares(heats: Float32[np.ndarray, "word h w"]) -> Float32[np.ndarray, "word h w"]:
    """Return how probable each word is at a pixel that has an object; they sum to 1.

    In proportion to the heat of attention to the power of RIVALRY. Of attention as it was captured:
    propagation draws the right outline but carries a word over to objects that look alike.
    """
    parts = (heats + LEAST_SHARE) ** RIVALRY
    return (parts / parts.sum(axis=0)).astype(np.float32)
