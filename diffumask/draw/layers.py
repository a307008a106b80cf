"""What is laid over a picture: its classes, or the heat of a word."""

import numpy as np
from jaxtyping import UInt8

from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Heat, Image, Mask

from .colours import Palette

TINT_OPACITY = 0.4
HEAT_OPACITY = 0.6
DIMMED = 0.3  # of the light of a background
CONTOUR_PX = 2
PX_PER_CONTOUR_PX = 256  # of the longer side, where that makes contours wider
HATCH_PX = 3
HATCH_LEVELS = (235, 40)  # greys of its stripes, of which one shows on any picture
HATCH_OPACITY = 0.75


def contour_px(height: int, width: int) -> int:
    """Return how wide a contour is in a picture of that size: 2 px, from 640 px on 1/256 of it."""
    return max(CONTOUR_PX, round(max(height, width) / PX_PER_CONTOUR_PX))


def overlay(image: Image, class_map: ClassMap, palette: Palette, dims: bool = False) -> Image:
    """Tint the classes of a picture, or dim its background, and outline them.

    Contours are `contour_px` wide, inside of their class and of its full colour; what lies at the
    frame of the picture is no edge. Pixels of 255 are hatched. All others stay: the background in a
    picture that is tinted, the insides of classes in one that is dimmed.
    """
    background, uncertain = class_map == BACKGROUND_ID, class_map == IGNORE_ID
    colours = palette[class_map]
    drawn = image.copy()
    if dims:
        drawn[background] = _blend(image, np.zeros_like(image), 1 - DIMMED)[background]
    else:
        drawn[~background] = _blend(image, colours, TINT_OPACITY)[~background]
    drawn[uncertain] = _blend(image, hatch(*class_map.shape), HATCH_OPACITY)[uncertain]
    edges = _edges(class_map)
    drawn[edges] = colours[edges]
    return drawn


def hatch(height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Draw the stripes that stand for 255, "uncertain"."""
    rows, columns = np.indices((height, width))
    stripes = (rows + columns) // HATCH_PX % len(HATCH_LEVELS)
    return np.array(HATCH_LEVELS, np.uint8)[stripes][..., None].repeat(3, axis=2)


def heat_overlay(image: Image, heat: Heat) -> Image:
    """Lay a heat map over an image, from blue (0) to red (1)."""
    import cv2  # it takes a while

    bgr = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return _blend(image, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), HEAT_OPACITY)


def _edges(class_map: ClassMap) -> Mask:
    """Find the pixels of classes that are within a contour's width of another label."""
    import cv2  # it takes a while

    edges = np.zeros(class_map.shape, bool)
    for class_id in np.setdiff1d(class_map, [BACKGROUND_ID, IGNORE_ID]):
        inside = class_map == class_id
        depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        edges |= inside & (depth <= contour_px(*class_map.shape))
    return edges


def _blend(below: Image, above: Image, opacity: float) -> Image:
    import cv2  # it takes a while

    return cv2.addWeighted(below, 1 - opacity, above, opacity, 0)
