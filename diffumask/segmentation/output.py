"""What segmentation networks of transformers put out, as one logit per label and pixel."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-6  # of a score before its logarithm


def label_logits(output: Any) -> Float[Tensor, "b c h w"]:
    """Return logits on the grid of the network, whose softmax is the probability of each label.

    Of networks with queries, such as Mask2Former, the score of a label is the sum over queries
    of its probability times the mask (Cheng et al. 2022); here its logarithm, so that the softmax
    is the share of the score.
    """
    if not hasattr(output, "class_queries_logits"):
        return output.logits.float()
    labels = output.class_queries_logits.float().softmax(-1)[..., :-1]  # the last is "no object"
    masks = output.masks_queries_logits.float().sigmoid()
    return torch.einsum("bqc,bqhw->bchw", labels, masks).clamp(min=SMALLEST).log()
