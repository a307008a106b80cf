"""Pictures of a dataset: its contact sheet, and what notebooks show of it."""

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image as PillowImage

from diffumask.draw import THUMBNAIL_QUALITY, contact_sheet, data_uri, evenly, overlay, shrink
from diffumask.errors import InputError
from diffumask.types import Image

from .decode import read_example
from .pair import Pair
from .record import Record
from .writer import Store

PREVIEW_ITEMS = 24
PREVIEW_COLUMNS = 4
PREVIEW_SIDE_PX = 256
NOTEBOOK_ITEMS = 12
NOTEBOOK_COLUMNS = 3
NOTEBOOK_SIDE_PX = 128
ITEM_SIDE_PX = 384
PROMPT_CHARACTERS = 120


def write_preview(store: Store) -> None:
    """Draw pairs of image and overlay, evenly picked from the folder, as its contact sheet."""
    names = sorted(store.records)
    picked = [store.records[names[at]] for at in evenly(len(names), PREVIEW_ITEMS)]
    if not picked:
        return
    examples = (read_example(store.folder, record) for record in picked)
    pairs = (Pair(example.image, example.class_map) for example in examples)
    sheet = [_side_by_side(pair, PREVIEW_SIDE_PX) for pair in pairs]
    store.write_preview(contact_sheet(sheet, PREVIEW_COLUMNS))


def sheet_png(pairs: Iterable[Callable[[], Pair]]) -> bytes | None:
    """Draw pairs of image and overlay as PNG; None where there is none.

    Those that raise InputError while they are read are left out.
    """
    sheet = []
    for read in pairs:
        with suppress(InputError):
            pictures = _side_by_side(read(), NOTEBOOK_SIDE_PX)
            sheet.append([_framed(picture, NOTEBOOK_SIDE_PX) for picture in pictures])
    if not sheet:
        return None
    encoded = io.BytesIO()
    PillowImage.fromarray(contact_sheet(sheet, NOTEBOOK_COLUMNS)).save(encoded, "PNG")
    return encoded.getvalue()


def table_html(cells: Sequence[Markup], title: str = "") -> str:
    """Lay cells out as a table below a title, which is shown as text."""
    starts = range(0, len(cells), NOTEBOOK_COLUMNS)
    rows = (Markup().join(cells[start : start + NOTEBOOK_COLUMNS]) for start in starts)
    table = Markup().join(Markup("<tr>{}</tr>").format(row) for row in rows)
    return Markup("<div>{}<table>{}</table></div>").format(title, table)


def cell_html(record: Record, read: Callable[[], Pair], side_px: int = NOTEBOOK_SIDE_PX) -> Markup:
    """Make a cell of image and overlay, name, class and prompt, which needs no other file.

    Whatever the record holds is shown as text; where reading raises InputError so is that.
    """
    try:
        picture = PillowImage.fromarray(np.concatenate(_side_by_side(read(), side_px), axis=1))
        source = data_uri(picture, "WEBP", quality=THUMBNAIL_QUALITY)
        shown = Markup('<img src="{}" alt="{}">').format(source, record.name)
    except InputError as error:
        shown = Markup("<em>{}</em>").format(error)
    texts = (record.name, record.class_name, record.prompt.text[:PROMPT_CHARACTERS])
    caption = Markup("<b>{}</b> {}<br>{}").format(*texts)
    return Markup('<td style="text-align: left">{}<br>{}</td>').format(shown, caption)


def _side_by_side(pair: Pair, side_px: int) -> list[Image]:
    """Return the image, and the image with its classes tinted, of at most that size."""
    pictures = (pair.image, overlay(pair.image, pair.class_map))
    return [shrink(picture, side_px) for picture in pictures]


def _framed(picture: Image, side_px: int) -> UInt8[np.ndarray, "{side_px} {side_px} 3"]:
    """Set a picture on a white square."""
    frame = np.full((side_px, side_px, 3), 255, np.uint8)
    top, left = ((side_px - length) // 2 for length in picture.shape[:2])
    frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return frame
