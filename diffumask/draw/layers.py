"""What is laid over a picture: its classes, or the heat of a word."""

import cv2
import numpy as np

from diffumask.types import BACKGROUND_ID, ClassMap, Heat, Image

from .colours import voc_palette

OVERLAY_OPACITY = 0.5
HEAT_OPACITY = 0.6


def overlay(image: Image, class_map: ClassMap) -> Image:
    """Tint an image with the colours of its classes and outline them; background stays."""
    shown = class_map != BACKGROUND_ID
    colour = voc_palette()[class_map]
    drawn = image.copy()
    drawn[shown] = _blend(image, colour, OVERLAY_OPACITY)[shown]
    for class_id in np.unique(class_map[shown]):
        outline, _ = cv2.findContours(
            (class_map == class_id).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(drawn, outline, -1, voc_palette()[class_id].tolist(), 1)
    return drawn


def heat_overlay(image: Image, heat: Heat) -> Image:
    """Lay a heat map over an image, from blue (0) to red (1)."""
    bgr = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return _blend(image, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), HEAT_OPACITY)


def _blend(below: Image, above: Image, opacity: float) -> Image:
    return cv2.addWeighted(below, 1 - opacity, above, opacity, 0)
