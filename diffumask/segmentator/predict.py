"""Masks of images that were never generated: encode, decode, mask."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from diffumask.errors import InputError
from diffumask.types import IGNORE_ID, ClassMap, Heat, Image

from .features import Autoencoder, check_size, decoded_states, encode_images, factor_of, padded
from .file import Segmentator
from .heads import disagreement, is_ensemble, probabilities


@dataclass(frozen=True, slots=True)
class Predictor:
    """Called with an image of any size from the VAE's factor on, predicts its class map.

    Of an ensemble a pixel is 255 where a smaller share of the members than `agreement` takes it for
    what they take it for together; with 0 it is never. Raises InputError for an agreement of a head
    that is no ensemble, and outside [0, 1].
    """

    segmentator: Segmentator
    vae: Autoencoder
    agreement: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.agreement <= 1:
            raise InputError(f"expected an agreement in [0, 1], got {self.agreement}")
        if self.agreement and not is_ensemble(self.segmentator.head):
            raise InputError(
                "expected an ensemble (design mlp), whose members can agree, got the design "
                f"{self.segmentator.facts.design}"
            )

    def __call__(self, image: Image) -> ClassMap:
        logits, size_hw = self._logits(image), (image.shape[0], image.shape[1])
        together = _resized(probabilities(logits)[0].cpu().numpy(), size_hw).argmax(0)
        class_map = self.segmentator.facts.labels.decode(together.astype(np.uint8))
        if self.agreement:
            each = [_resized(one.cpu().numpy(), size_hw).argmax(0) for one in logits[:, 0]]
            class_map[(np.stack(each) == together).mean(0) < self.agreement] = IGNORE_ID
        return class_map

    def probabilities(self, image: Image) -> Float32[np.ndarray, "label h w"]:
        """Return the probability of each label at the size of the image.

        Raises InputError for an image smaller than the factor.
        """
        planes = probabilities(self._logits(image))[0].cpu().numpy()
        return _resized(planes, (image.shape[0], image.shape[1]))

    def uncertainty(self, image: Image) -> Heat:
        """Return the disagreement of an ensemble in nats; 0 everywhere for other heads."""
        planes = disagreement(self._logits(image)).cpu().numpy()
        return _resized(planes, (image.shape[0], image.shape[1]))[0]

    @torch.no_grad()
    def _logits(self, image: Image) -> Float32[Tensor, "member 1 label _h _w"]:
        """Return logits at the working size, without what was padded."""
        factor = factor_of(self.vae)
        check_size(image.shape[:2], factor)
        small = working_image(image, self.segmentator.facts.side)
        latents = encode_images(self.vae, padded(small, factor)[None])
        head = self.segmentator.head
        logits = head(decoded_states(self.vae, latents, head.reduce))
        return logits[..., : small.shape[0], : small.shape[1]]


def working_image(image: Image, side: int) -> UInt8[np.ndarray, "_h _w 3"]:
    """Bring the shorter side of an image to a number of pixels."""
    scale = side / min(image.shape[:2])
    if scale == 1:
        return image
    size_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size_wh, interpolation=way)


def _resized(
    planes: Float32[np.ndarray, "label small_h small_w"], size_hw: tuple[int, int]
) -> Float32[np.ndarray, "label h w"]:
    if planes.shape[1:] == size_hw:
        return planes
    size_wh = size_hw[::-1]
    return np.stack([cv2.resize(one, size_wh, interpolation=cv2.INTER_LINEAR) for one in planes])
