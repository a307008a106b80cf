"""Names of classes beside their colours, as a picture."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from diffumask.types import IGNORE_ID, Image

from .colours import Palette
from .layers import hatch
from .sheet import PAPER

INK = (32, 30, 26)
TEXT_PX = 15
SWATCH_PX = 15
ROW_PX = 24
PAD_PX = 5
BETWEEN_PX = 16
CUT = "…"


@cache
def font(size_px: int = TEXT_PX) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow: a machine may have none."""
    return ImageFont.load_default(size_px)


def fitting(text: str, width_px: int) -> str:
    """Cut a text that is wider than that; what cannot be printed becomes a space."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = text
    while shown and font().getlength(shown) > width_px:
        text = text[:-1]
        shown = text + CUT if text else ""
    return shown


def legend(
    names: Mapping[int, str], palette: Palette, width_px: int
) -> UInt8[np.ndarray, "legend_h {width_px} 3"]:
    """Draw a swatch of each class with its name, by id, in as many rows as that width needs.

    255 is hatched. Names that are wider than a row are cut; no name makes a strip without height.
    """
    places = list(_places(names, width_px))
    rows = 1 + max((row for _, _, row, _ in places), default=-1)
    sheet = np.full((rows * ROW_PX, width_px, 3), PAPER, np.uint8)
    for class_id, _, row, left in places:
        top = row * ROW_PX + (ROW_PX - SWATCH_PX) // 2
        sheet[top : top + SWATCH_PX, left : left + SWATCH_PX] = swatch(class_id, palette)
    written = [(left + SWATCH_PX + PAD_PX, row, name) for _, name, row, left in places]
    return _write(sheet, written)


def swatch(class_id: int, palette: Palette) -> Image:
    """Draw a square of the colour of a class; 255 is hatched."""
    if class_id == IGNORE_ID:
        return hatch(SWATCH_PX, SWATCH_PX)
    return np.full((SWATCH_PX, SWATCH_PX, 3), palette[class_id], np.uint8)


def caption(text: str, width_px: int) -> UInt8[np.ndarray, "caption_h {width_px} 3"]:
    """Write a text in a row, cut to its width."""
    sheet = np.full((ROW_PX, width_px, 3), PAPER, np.uint8)
    return _write(sheet, [(0, 0, fitting(text, width_px))])


def _write(sheet: Image, texts: Iterable[tuple[int, int, str]]) -> Image:
    """Write texts on a sheet, each at its left edge in pixels and its row."""
    picture = PillowImage.fromarray(sheet)
    draw = ImageDraw.Draw(picture)
    for left, row, text in texts:
        middle = (left, row * ROW_PX + ROW_PX // 2)
        draw.text(middle, text, fill=INK, font=font(), anchor="lm")
    return np.array(picture)


def _places(names: Mapping[int, str], width_px: int) -> Iterator[tuple[int, str, int, int]]:
    """Yield each class with its name as it fits, its row, and its left edge in pixels."""
    row, left = 0, 0
    for class_id, name in names.items():
        shown = fitting(name, width_px - SWATCH_PX - PAD_PX)
        width = SWATCH_PX + PAD_PX + int(np.ceil(font().getlength(shown)))
        if left and left + width > width_px:
            row, left = row + 1, 0
        yield class_id, shown, row, left
        left += width + BETWEEN_PX
