"""SAM 3 (Carion et al. 2025) through transformers, asked for the name of each class."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from transformers import CLIPTokenizer, PreTrainedModel

from diffumask.masks.area_mean import area_mean
from diffumask.masks.refine.sam import SAM3_COLOURS
from diffumask.models import load_sam3
from diffumask.types import Image, Objects, Prompt, Sample

LEAST_SCORE = 0.5  # of an instance that is there, as the authors have it
TEXT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Sam3Source:
    """See `diffumask.masks.sources`. A class of which SAM 3 finds no instance is absent.

    A pixel is of the instance with the highest score among those whose mask covers it, and as
    probable of its class as that mask says.
    """

    model: PreTrainedModel
    tokenizer: CLIPTokenizer

    def __call__(self, sample: Sample) -> Objects:
        h, w = sample.image.shape[:2]
        objects = np.zeros((len(sample.prompt.targets) + 2, h, w), np.float32)
        best = np.zeros((h, w), np.float32)
        for label, instances in enumerate(self._instances(sample), 1):
            for score, mask in instances:
                rank = np.where(mask > 0.5, 1 + score, mask)
                wins = rank > best
                objects[1:, wins] = 0
                objects[label, wins] = mask[wins]
                best[wins] = rank[wins]
        objects[0] = 1 - objects[1:].sum(0)
        return objects

    def watching(
        self, pipe: Any, prompts: Sequence[Prompt]
    ) -> AbstractContextManager[list[Objects]]:
        """Watch nothing: SAM 3 looks at the image alone."""
        return nullcontext([])

    @torch.inference_mode()
    def _instances(self, sample: Sample) -> list[list[tuple[float, Float32[np.ndarray, "h w"]]]]:
        """Return the score and the probabilities of each instance that is found of each target."""
        of_model: Any = self.model
        seen = of_model.get_vision_features(self._pixels(sample.image))
        names = [target.class_name for target in sample.prompt.targets]
        options: dict[str, Any] = {"padding": "max_length", "truncation": True}
        found = []
        for name in names:  # one by one: what is kept of an instance is large
            asked = self.tokenizer(name, max_length=TEXT_TOKENS, return_tensors="pt", **options)
            made = of_model(vision_embeds=seen, **asked.to(of_model.device))
            scores = (made.pred_logits.sigmoid() * made.presence_logits.sigmoid())[0]
            there = (scores >= LEAST_SCORE).nonzero().flatten().tolist()
            planes = made.pred_masks[0, there].float().cpu().numpy()
            masks = [_resized(plane, sample.image) for plane in planes]
            found.append(list(zip(scores[there].tolist(), masks, strict=True)))
        return found

    def _pixels(self, image: Image) -> torch.Tensor:
        """Return the image on the square that the model reads."""
        of_model: Any = self.model
        side_px = int(of_model.config.image_size)
        resized = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
        mean, deviation = SAM3_COLOURS
        pixels = ((resized - mean) / deviation).transpose(2, 0, 1)[None]
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(of_model.device)


def _resized(
    logits: Float32[np.ndarray, "rows columns"], image: Image
) -> Float32[np.ndarray, "h w"]:
    """Return the probabilities of a plane of logits at the size of an image."""
    h, w = image.shape[:2]
    plane = cv2.resize(area_mean(logits, (h, w)), (w, h))
    return 1 / (1 + np.exp(-np.clip(plane, -30, 30)))


def sam3_source(folder: str, device: str) -> Sam3Source:
    """Make a source of a folder; raises `InputError` as `load_sam3` does."""
    return Sam3Source(*load_sam3(Path(folder), device))
