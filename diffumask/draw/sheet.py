"""Sheets of pictures, and pictures within pages."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from diffumask.types import Image

GUTTER_PX = 4
THUMBNAIL_QUALITY = 80  # of JPEG and WebP
PAPER = 255  # grey level of the sheet between its pictures


def shrink(image: Image, max_side_px: int) -> UInt8[np.ndarray, "small_h small_w 3"]:
    """Resize an image so that its longer side has at most `max_side_px`; never enlarge it."""
    height, width = image.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return image
    small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, small_wh, interpolation=cv2.INTER_AREA)


def contact_sheet(
    groups: Sequence[Sequence[Image]], columns: int
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """Lay groups of pictures out, `columns` groups beside each other.

    A group is a row of pictures that stay together, such as image and overlay; all pictures
    have one size. Places that are left over, and the gutters between groups, are white.
    """
    if not groups or columns < 1:
        raise ValueError(f"expected pictures and columns >= 1, got {len(groups)} and {columns}")
    strips = [np.concatenate(list(group), axis=1) for group in groups]
    height, width = strips[0].shape[:2]
    columns = min(columns, len(strips))
    rows = math.ceil(len(strips) / columns)
    pitch_y, pitch_x = height + GUTTER_PX, width + GUTTER_PX
    size = (rows * pitch_y + GUTTER_PX, columns * pitch_x + GUTTER_PX, 3)
    sheet = np.full(size, PAPER, np.uint8)
    for place, strip in enumerate(strips):
        top = GUTTER_PX + place // columns * pitch_y
        left = GUTTER_PX + place % columns * pitch_x
        sheet[top : top + height, left : left + width] = strip
    return sheet


def evenly(n_items: int, n_picked: int) -> list[int]:
    """Pick positions from 0 to n_items - 1, evenly and in order; all where they are too few."""
    return np.linspace(0, n_items - 1, min(n_picked, n_items)).round().astype(int).tolist()


def data_uri(picture: PillowImage.Image, format_name: str, **options: Any) -> str:
    """Encode a picture as a data URI for a page; `options` are those of Pillow's writer."""
    encoded = io.BytesIO()
    picture.save(encoded, format_name, **options)
    content = base64.b64encode(encoded.getvalue()).decode()
    return f"data:image/{format_name.lower()};base64,{content}"
