"""What a head is trained to make small."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from diffumask.types import IGNORE_ID

DICE_SMOOTHING = 1.0


def loss(logits: Float[Tensor, "b label h w"], truth: Int64[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return cross-entropy plus the Dice loss of the labels that are there; 255 does not count.

    A batch without a pixel that counts costs 0.
    """
    known = (truth != IGNORE_ID)[:, None]
    labels = truth.masked_fill(~known[:, 0], 0)
    costs = functional.cross_entropy(logits, labels, reduction="none")[:, None]
    cross_entropy = (costs * known).sum() / known.sum().clamp(min=1)
    one_hot = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1) * known
    predicted = logits.softmax(1) * known
    sizes = one_hot.sum((0, 2, 3))
    both = (predicted * one_hot).sum((0, 2, 3))
    total = predicted.sum((0, 2, 3)) + sizes
    dice = 1 - (2 * both + DICE_SMOOTHING) / (total + DICE_SMOOTHING)
    present = sizes > 0
    return cross_entropy + (dice * present).sum() / present.sum().clamp(min=1)
