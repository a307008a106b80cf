"""Segment Anything through transformers, prompted by a box and a point.

SAM is that of Kirillov et al. 2023, SAM 2 that of Ravi et al. 2024, SAM 3 that of Carion et al.
2025, of which this is the part that follows an object through a video.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from transformers import PreTrainedModel, SamModel

from diffumask.models import load_sam_model
from diffumask.types import Image, Mask

# The colours that the published checkpoints were trained with.
MEAN_RGB = np.array([123.675, 116.28, 103.53], np.float32)
STD_RGB = np.array([58.395, 57.12, 57.375], np.float32)
SAM3_COLOURS = np.full(3, 127.5, np.float32), np.full(3, 127.5, np.float32)  # mean and deviation
ABSENT_LOGIT = -20.0
PROMPTS_AT_ONCE = 32


class SamRefiner:
    """A refiner around a SAM, SAM 2 or SAM 3; the image is encoded once for all candidates.

    Each label but the background becomes one prompt: the box around the pixels where it is above
    1/2, and the pixel deepest inside them. A label with no such pixel is absent. Labels compete by
    softmax against a background of logit 0.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        self.side_px = int(self.model.config.prompt_encoder_config.image_size)
        self.stretches = not isinstance(model, SamModel)  # SAM 2 and 3 were trained on squares
        is_sam3 = type(model).__name__ == "Sam3TrackerModel"  # not every transformers has it
        self.mean_rgb, self.std_rgb = SAM3_COLOURS if is_sam3 else (MEAN_RGB, STD_RGB)

    def __call__(
        self, image: Image, probabilities: Float32[np.ndarray, "candidate label h w"]
    ) -> Float32[np.ndarray, "candidate label h w"]:
        """Return the softmax of SAM's mask logits."""
        objects = probabilities[:, 1:]
        present = np.argwhere((objects > 0.5).any((2, 3)))
        logits = np.full_like(probabilities, ABSENT_LOGIT)
        logits[:, 0] = 0
        masks = [objects[candidate, label] > 0.5 for candidate, label in present]
        for (candidate, label), plane in zip(present, self._masks(image, masks), strict=True):
            logits[candidate, label + 1] = plane
        logits -= logits.max(1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(1, keepdims=True)
        return logits

    @torch.inference_mode()
    def _masks(self, image: Image, masks: list[Mask]) -> list[Float32[np.ndarray, "h w"]]:
        """Return one plane of logits for each prompt mask."""
        if not masks:
            return []
        h, w = image.shape[:2]
        inner_h, inner_w = self._inner_hw(h, w)
        scale_xy = np.array([inner_w / w, inner_h / h], np.float32)
        embeddings = self.model.get_image_embeddings(self._pixels(image, inner_h, inner_w))
        planes = []
        for start in range(0, len(masks), PROMPTS_AT_ONCE):
            prompts = [_prompt(mask) for mask in masks[start : start + PROMPTS_AT_ONCE]]
            boxes = torch.from_numpy(np.stack([box for box, _ in prompts]) * np.tile(scale_xy, 2))
            points = torch.from_numpy(np.stack([point for _, point in prompts]) * scale_xy)
            found = self.model(
                image_embeddings=embeddings,
                input_boxes=boxes[None].to(self.model.device),
                input_points=points[None, :, None].to(self.model.device),
                multimask_output=False,
            )
            for plane in found.pred_masks[0, :, 0].float().cpu().numpy():
                whole = cv2.resize(plane, (self.side_px, self.side_px))
                planes.append(cv2.resize(whole[:inner_h, :inner_w], (w, h)))
        return planes

    def _inner_hw(self, h: int, w: int) -> tuple[int, int]:
        """Return the size of an image within the square that the model reads."""
        if self.stretches:
            return self.side_px, self.side_px
        scale = self.side_px / max(h, w)
        return max(1, round(h * scale)), max(1, round(w * scale))

    def _pixels(self, image: Image, inner_h: int, inner_w: int) -> torch.Tensor:
        """Return the image on the square that the model reads, at its upper left corner."""
        resized = cv2.resize(image, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
        pixels = np.zeros((1, 3, self.side_px, self.side_px), np.float32)
        coloured = (resized - self.mean_rgb) / self.std_rgb
        pixels[0, :, :inner_h, :inner_w] = coloured.transpose(2, 0, 1)
        return torch.from_numpy(pixels).to(self.model.device)


def load_sam(folder: Path, kind: str = "sam", device: str = "auto") -> SamRefiner:
    """Make a refiner of the SAM in a local folder; raises `InputError` as `load_sam_model` does."""
    return SamRefiner(load_sam_model(folder, device, kind))


def _prompt(mask: Mask) -> tuple[Float32[np.ndarray, "4"], Float32[np.ndarray, "2"]]:
    """Return the box (x0, y0, x1, y1) around a mask and its deepest pixel (x, y)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    padded = np.pad(mask, 1).astype(np.uint8)  # the image border is an edge of the mask
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return box, np.array([x + 0.5, y + 0.5], np.float32)
