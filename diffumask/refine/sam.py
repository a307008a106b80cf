"""Segment Anything (Kirillov et al. 2023) through transformers, prompted by a box and a point."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from transformers import SamModel

from diffumask.models import load_sam_model
from diffumask.types import Image, Mask

# The colours that the published checkpoints were trained with.
MEAN_RGB = np.array([123.675, 116.28, 103.53], np.float32)
STD_RGB = np.array([58.395, 57.12, 57.375], np.float32)
ABSENT_LOGIT = -20.0
PROMPTS_AT_ONCE = 32


class SamRefiner:
    """A refiner around a SAM model; the image is encoded once for all candidates.

    Each label but the background becomes one prompt: the box around the pixels where it is above
    1/2, and the pixel deepest inside them. A label with no such pixel is absent. Labels compete by
    softmax against a background of logit 0.
    """

    def __init__(self, model: SamModel) -> None:
        self.model = model
        self.side_px = int(model.config.vision_config.image_size)  # type: ignore[union-attr]

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
        scale = self.side_px / max(h, w)
        inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
        embeddings = self.model.get_image_embeddings(self._pixels(image, inner_h, inner_w))
        planes = []
        for start in range(0, len(masks), PROMPTS_AT_ONCE):
            prompts = [_prompt(mask) for mask in masks[start : start + PROMPTS_AT_ONCE]]
            boxes = torch.from_numpy(np.stack([box for box, _ in prompts]) * np.float32(scale))
            points = torch.from_numpy(np.stack([point for _, point in prompts]) * np.float32(scale))
            found = self.model(
                image_embeddings=embeddings,
                input_boxes=boxes[None].to(embeddings.device),
                input_points=points[None, :, None].to(embeddings.device),
                multimask_output=False,
            )
            for plane in found.pred_masks[0, :, 0].float().cpu().numpy():
                whole = cv2.resize(plane, (self.side_px, self.side_px))
                planes.append(cv2.resize(whole[:inner_h, :inner_w], (w, h)))
        return planes

    def _pixels(self, image: Image, inner_h: int, inner_w: int) -> torch.Tensor:
        """Return the image on the square that the model reads, at its upper left corner."""
        resized = cv2.resize(image, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
        pixels = np.zeros((1, 3, self.side_px, self.side_px), np.float32)
        pixels[0, :, :inner_h, :inner_w] = ((resized - MEAN_RGB) / STD_RGB).transpose(2, 0, 1)
        return torch.from_numpy(pixels).to(self.model.device)


def load_sam(folder: Path) -> SamRefiner:
    """Make a refiner of the SAM in a local folder; raises `InputError` as `load_sam_model` does."""
    return SamRefiner(load_sam_model(folder))


def _prompt(mask: Mask) -> tuple[Float32[np.ndarray, "4"], Float32[np.ndarray, "2"]]:
    """Return the box (x0, y0, x1, y1) around a mask and its deepest pixel (x, y)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    padded = np.pad(mask, 1).astype(np.uint8)  # the image border is an edge of the mask
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return box, np.array([x + 0.5, y + 0.5], np.float32)
