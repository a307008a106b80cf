"""Sprites: emoji of the Noto Color Emoji font as RGBA arrays."""

import os
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from diffumask.errors import InputError

Sprite = UInt8[np.ndarray, "sprite_h sprite_w 4"]

FONT_VARIABLE = "DIFFUMASK_EMOJI_FONT"
FONT_PATHS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
)
BITMAP_SIZE_PX = 109  # the one strike size of the font's bitmaps


def find_font() -> Path | None:
    """Return the path of Noto Color Emoji, or None where it is not installed."""
    candidates = [os.environ[FONT_VARIABLE]] if FONT_VARIABLE in os.environ else FONT_PATHS
    return next((Path(path) for path in candidates if Path(path).is_file()), None)


@cache
def sprite(emoji: str) -> Sprite:
    """Draw one emoji, cropped to its visible pixels; read-only, at most 136 px wide.

    Raises InputError without the font, ValueError if the font has no such emoji.
    """
    canvas = Image.new("RGBA", (2 * BITMAP_SIZE_PX, 2 * BITMAP_SIZE_PX), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((20, 20), emoji, font=_font(), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"expected an emoji that the font can draw, got {emoji!r}")
    pixels = np.array(canvas.crop(box))
    pixels.setflags(write=False)
    return pixels


@cache
def _font() -> ImageFont.FreeTypeFont:
    path = find_font()
    if path is None:
        raise InputError(
            "expected the font Noto Color Emoji, found none; install fonts-noto-color-emoji "
            f"or set {FONT_VARIABLE} to NotoColorEmoji.ttf"
        )
    return ImageFont.truetype(str(path), BITMAP_SIZE_PX)
