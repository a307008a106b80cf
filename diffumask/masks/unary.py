"""Heat and thresholds to label probabilities, before the image has its say."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

# Odds per unit of heat; 10 makes a pixel 0.1 above its threshold 2.7 times as likely the object's.
# Against hard labels of odds 20 : 1, as in the code of Wu et al. 2023: benchmarks/results/masks.md.
SHARPNESS = 10.0


def label_probabilities(
    heats: Float32[np.ndarray, "word h w"], thresholds: Sequence[Sequence[float]]
) -> Float32[np.ndarray, "candidate label h w"]:
    """Return the probability of each label under each candidate, a threshold for each word.

    Label 0 is the background, label c the c-th word. The softmax of 0 and of SHARPNESS times the
    heat above the word's threshold: words compete by how far they are above, and a pixel at the
    threshold is undecided.
    """
    t = np.array(thresholds, np.float32).reshape(-1, len(heats), 1, 1)
    weights = np.exp(SHARPNESS * (heats - t))
    return np.concatenate([np.ones_like(weights[:, :1]), weights], axis=1) / (
        1 + weights.sum(axis=1, keepdims=True)
    )
