"""CLIPSeg (Lüddecke & Ecker 2022) through transformers, asked for the name of each class."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from transformers import CLIPTokenizer, PreTrainedModel

from diffumask.masks.area_mean import area_mean
from diffumask.masks.refine.sam import MEAN_RGB, STD_RGB
from diffumask.models import load_clipseg
from diffumask.types import Objects, Prompt, Sample


@dataclass(frozen=True, slots=True)
class ClipSegSource:
    """See `diffumask.masks.sources`. Targets compete by softmax with a background of logit 0.

    That is, for a single target, the sigmoid that CLIPSeg was trained with.
    """

    model: PreTrainedModel
    tokenizer: CLIPTokenizer

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> Objects:
        of_model: Any = self.model
        names = [target.class_name for target in sample.prompt.targets]
        asked = self.tokenizer(names, padding=True, return_tensors="pt").to(of_model.device)
        pixels = self._pixels(sample).expand(len(names), -1, -1, -1)
        logits = of_model(pixel_values=pixels, **asked).logits
        h, w = sample.image.shape[:2]
        planes = logits.reshape(len(names), *logits.shape[-2:]).float().cpu().numpy()
        resized = [cv2.resize(area_mean(plane, (h, w)), (w, h)) for plane in planes]
        shown = np.stack([np.zeros((h, w), np.float32), *resized])
        weights = np.exp(shown - shown.max(0))
        seen = weights / weights.sum(0)
        return np.concatenate([seen, np.zeros((1, h, w), np.float32)])

    def watching(
        self, pipe: Any, prompts: Sequence[Prompt]
    ) -> AbstractContextManager[list[Objects]]:
        """Watch nothing: CLIPSeg looks at the image alone."""
        return nullcontext([])

    def _pixels(self, sample: Sample) -> torch.Tensor:
        """Return the image on the square that the model reads, in the colours of ImageNet."""
        of_model: Any = self.model
        side_px = int(of_model.config.vision_config.image_size)
        resized = cv2.resize(sample.image, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
        pixels = ((resized - MEAN_RGB) / STD_RGB).transpose(2, 0, 1)[None]
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(of_model.device)


def clipseg_source(model: str, device: str) -> ClipSegSource:
    """Make a source of a folder or hub id; raises `InputError` as `load_clipseg` does."""
    return ClipSegSource(*load_clipseg(model, device))
