"""Sheets of pictures, and pictures within pages."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

GUTTER_PX = 8
THUMBNAIL_QUALITY = 80  # of JPEG and WebP
PAPER = 255  # grey level of the sheet between its pictures


def fit(
    pixels: UInt8[np.ndarray, "h w *rgb"], side_px: int
) -> UInt8[np.ndarray, "new_h new_w *rgb"]:
    """Resize an image, or a class map, whose labels stay, so that its longer side is `side_px`."""
    import cv2  # it takes a while

    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    if pixels.ndim == 2:
        return cv2.resize(pixels, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, size_wh, interpolation=method)


def shrink(
    pixels: UInt8[np.ndarray, "h w *rgb"], max_side_px: int
) -> UInt8[np.ndarray, "small_h small_w *rgb"]:
    """Resize as `fit`, so that the longer side has at most `max_side_px`; never enlarge."""
    return pixels if max(pixels.shape[:2]) <= max_side_px else fit(pixels, max_side_px)


def contact_sheet(
    groups: Sequence[Sequence[UInt8[np.ndarray, "_h _w 3"]]], columns: int
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """Lay groups of pictures out, `columns` groups beside each other.

    A group is a row of pictures of one height that stay together, such as image and overlay. What
    smaller groups leave free, places that are left over, and the gutters between groups, are white.
    """
    if not groups or columns < 1:
        raise ValueError(f"expected pictures and columns >= 1, got {len(groups)} and {columns}")
    strips = [np.concatenate(list(group), axis=1) for group in groups]
    height, width = (max(strip.shape[axis] for strip in strips) for axis in (0, 1))
    columns = min(columns, len(strips))
    rows = math.ceil(len(strips) / columns)
    pitch_y, pitch_x = height + GUTTER_PX, width + GUTTER_PX
    size = (rows * pitch_y + GUTTER_PX, columns * pitch_x + GUTTER_PX, 3)
    sheet = np.full(size, PAPER, np.uint8)
    for place, strip in enumerate(strips):
        top = GUTTER_PX + place // columns * pitch_y
        left = GUTTER_PX + place % columns * pitch_x
        sheet[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
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
