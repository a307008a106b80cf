"""ESPNetv2 (Mehta et al. 2019; sacmehta/EdgeNets, MIT) as it was trained on PASCAL VOC.

An outside reference: 0.79 M parameters, 67.0 mIoU on VOC val by its authors. Its file is a program
that torch exported, which the package would never load; here it is one's own choice.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from diffumask.types import BACKGROUND_ID, ClassMap, Image

FILE, SIDE_PX = "espnetv2_voc_384.pt2", 384
MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class ESPNetv2:
    """Predicts class maps of ids of VOC; those that do not count become background."""

    network: Any
    counted: Collection[int]

    @torch.inference_mode()
    def __call__(self, image: Image) -> ClassMap:
        square = cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
        pixels = ((square / 255 - MEAN_RGB) / STD_RGB).transpose(2, 0, 1)[None]
        logits = self.network(torch.from_numpy(pixels.astype(np.float32)))[0].numpy()
        size_wh = image.shape[1], image.shape[0]
        planes = [cv2.resize(one, size_wh, interpolation=cv2.INTER_LINEAR) for one in logits]
        ids = np.argmax(planes, axis=0).astype(np.uint8)
        return np.where(np.isin(ids, list(self.counted)), ids, BACKGROUND_ID).astype(np.uint8)


def load_espnetv2(folder: Path, counted: Collection[int]) -> ESPNetv2:
    """Load the network of a folder; it sees one square image at a time."""
    return ESPNetv2(torch.export.load(folder / FILE).module(), counted)
