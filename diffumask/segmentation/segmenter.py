"""A segmentation network of transformers that is asked what images show."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.models import load_segmenter
from diffumask.types import name_key

from .preprocessing import Preprocessing

SMALLEST = 1e-6  # of a score before its logarithm


class Segmenter(nn.Module):
    """A network and the preprocessing of its images."""

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model: Any = model
        self.preprocessing = preprocessing

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def label_names(self) -> Mapping[int, str]:
        """The name of each label."""
        return self.model.config.id2label

    def logits(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Return logits in the size of the pixels, which are in [0, 1]; see `label_logits`."""
        logits = label_logits(self.model(pixel_values=self.preprocessing(pixels)))
        return functional.interpolate(logits, pixels.shape[2:], mode="bilinear")


def pretrained(model: str, device: str = "auto") -> Segmenter:
    """Load a network by its folder or hub id. Raises InputError for what cannot be loaded."""
    network, config = load_segmenter(model, device)
    return Segmenter(network, Preprocessing.from_json(config)).eval()


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


def label_ids(labels: Mapping[int, str], names: Sequence[str]) -> list[int]:
    """Return the ids of the labels that go by one of the names of a class.

    A label may list several words, separated by commas; case, spaces and hyphens do not count.
    Raises InputError that suggests near labels.
    """
    keys = {name_key(name) for name in names}
    words = {index: label.split(",") for index, label in labels.items()}
    found = [i for i, of_label in words.items() if keys & set(map(name_key, of_label))]
    if not found:
        near = difflib.get_close_matches(names[0], labels.values(), n=3, cutoff=0.4)
        hint = f"; near ones are {', '.join(map(repr, near))}" if near else ""
        raise InputError(
            f"expected a network with a label for {names[0]!r}, got {len(labels)} others{hint}"
        )
    return found
