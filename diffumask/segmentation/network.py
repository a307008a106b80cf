"""A segmentation network with the classes that its labels stand for, as it is trained."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from diffumask.labelled.labels import Labels
from diffumask.types import IGNORE_ID

from .preprocessing import Preprocessing
from .segmenter import Segmenter

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation


class Network(Segmenter):
    """A segmentation network of transformers with the classes that its labels stand for.

    `shorter_side_px` is that of the images it was trained on, None before; to predict, images
    are resized to it.
    """

    def __init__(
        self, model: nn.Module, labels: Labels, shorter_side_px: int | None = None
    ) -> None:
        super().__init__(model, Preprocessing(shorter_side_px, normalisation=IMAGENET))
        self.labels = labels

    @property
    def shorter_side_px(self) -> int | None:
        """The shorter side to which images are resized."""
        return self.preprocessing.shorter_side_px

    @shorter_side_px.setter
    def shorter_side_px(self, side_px: int) -> None:
        self.preprocessing = replace(self.preprocessing, shorter_side_px=side_px)

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], labels: Int64[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Return the loss; as `loss`, which does not go through the hooks of a module."""
        return self.loss(pixels, labels)

    def loss(
        self, pixels: Float[Tensor, "b 3 h w"], labels: Int64[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Return the loss that the network is trained with; pixels in [0, 1], 255 is ignored.

        Cross-entropy on every other pixel, of which the first is drawn from torch's random
        numbers; networks with queries have their own loss, to which 255 is no part of any mask.
        The pixels are not resized.
        """
        normalised = self.preprocessing.normalised(pixels)
        if _has_queries(self.model):
            masks, classes = _segments(labels)
            output = self.model(pixel_values=normalised, mask_labels=masks, class_labels=classes)
            return output.loss.squeeze()
        top, left = torch.randint(2, (2,)).tolist()
        truth = labels[:, top::2, left::2]
        logits = self.model(pixel_values=normalised).logits.float()
        near = functional.interpolate(logits, truth.shape[1:], mode="bilinear")
        known = (truth != IGNORE_ID).sum().clamp(min=1)  # a mean over none would be no number
        total = functional.cross_entropy(near, truth, ignore_index=IGNORE_ID, reduction="sum")
        return total / known


def _has_queries(model: Any) -> bool:
    return hasattr(model.config, "num_queries")


def _segments(labels: Int64[Tensor, "b h w"]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the masks and the labels of each image; an image may have none."""
    of_images = [one.unique() for one in labels]
    classes = [found[found != IGNORE_ID] for found in of_images]
    masks = [
        (one == found[:, None, None]).float() for one, found in zip(labels, classes, strict=True)
    ]
    return masks, classes
