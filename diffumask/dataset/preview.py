"""Pictures of a dataset: its contact sheet, and what notebooks show of it."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain

import numpy as np
from markupsafe import Markup
from PIL import Image as PillowImage

from diffumask.draw import (
    GUTTER_PX,
    THUMBNAIL_QUALITY,
    contact_sheet,
    data_uri,
    display_palette,
    evenly,
    fit,
    legend,
    overlay,
)
from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Image

from .decode import read_pair
from .pair import Pair, labels_of
from .record import Record
from .run import read_run
from .writer import Store

PREVIEW_ITEMS = 24
PREVIEW_SIDE_PX = 256
NOTEBOOK_ITEMS = 12
COLUMNS = 3
NOTEBOOK_SIDE_PX = 128
ITEM_SIDE_PX = 384
PROMPT_CHARACTERS = 120
UNCERTAIN, NO_MASK = "uncertain", "no mask"


def write_preview(store: Store) -> None:
    """Draw pairs of image and overlay, evenly picked from the folder, as its contact sheet."""
    names = sorted(store.records)
    picked = [store.records[names[at]] for at in evenly(len(names), PREVIEW_ITEMS)]
    if not picked:
        return
    pairs = [read_pair(store.folder, record) for record in picked]
    store.write_preview(_sheet(pairs, read_run(store.folder).classes, PREVIEW_SIDE_PX))


def sheet_png(
    pairs: Iterable[Callable[[], Pair]], classes: Mapping[str, int], side_px: int
) -> bytes | None:
    """Draw pairs of image and overlay as PNG; None where there is none.

    Those that raise InputError while they are read are left out.
    """
    found = []
    for read in pairs:
        with suppress(InputError):
            found.append(read())
    if not found:
        return None
    encoded = io.BytesIO()
    PillowImage.fromarray(_sheet(found, classes, side_px)).save(encoded, "PNG")
    return encoded.getvalue()


def table_html(cells: Sequence[Markup], title: str = "") -> str:
    """Lay cells out as a table below a title, which is shown as text."""
    starts = range(0, len(cells), COLUMNS)
    rows = (Markup().join(cells[start : start + COLUMNS]) for start in starts)
    table = Markup().join(Markup("<tr>{}</tr>").format(row) for row in rows)
    return Markup("<div>{}<table>{}</table></div>").format(title, table)


def cell_html(
    record: Record,
    read: Callable[[], Pair],
    classes: Mapping[str, int],
    side_px: int = NOTEBOOK_SIDE_PX,
) -> Markup:
    """Make a cell of image and overlay, name, class and prompt, which needs no other file.

    Whatever the record holds is shown as text; where reading raises InputError so is that.
    """
    try:
        picture = PillowImage.fromarray(_tile(read(), classes, side_px))
        source = data_uri(picture, "WEBP", quality=THUMBNAIL_QUALITY)
        shown = Markup('<img src="{}" alt="{}">').format(source, record.name)
    except InputError as error:
        shown = Markup("<em>{}</em>").format(error)
    texts = (record.name, record.class_name, record.prompt.text[:PROMPT_CHARACTERS])
    caption = Markup("<b>{}</b> {}<br>{}").format(*texts)
    return Markup('<td style="text-align: left">{}<br>{}</td>').format(shown, caption)


def names_shown(class_maps: Iterable[ClassMap], classes: Mapping[str, int]) -> dict[int, str]:
    """Name the labels that class maps show, by id, in the order of the classes; 255 is the last.

    Labels that are no class of these are named by their number; no label at all is "no mask".
    """
    shown = set(chain.from_iterable(labels_of(each) for each in class_maps)) - {BACKGROUND_ID}
    names = {class_id: name for name, class_id in classes.items() if class_id in shown}
    names |= {label: f"{label}" for label in sorted(shown - names.keys())}
    names |= {IGNORE_ID: UNCERTAIN} if names.pop(IGNORE_ID, None) else {}
    return names or {BACKGROUND_ID: NO_MASK}


def _sheet(pairs: Sequence[Pair], classes: Mapping[str, int], side_px: int) -> Image:
    """Lay pairs out with a legend of all that they show."""
    tiles = contact_sheet([[_tile(pair, classes, side_px)] for pair in pairs], COLUMNS)
    names = names_shown((pair.class_map for pair in pairs), classes)
    width = tiles.shape[1] - 2 * GUTTER_PX
    head = legend(names, display_palette(classes.values()), width)
    return np.concatenate([contact_sheet([[head]], 1), tiles])


def _tile(pair: Pair, classes: Mapping[str, int], side_px: int) -> Image:
    """Draw the image, the image with its background dimmed, and below them what that shows."""
    image, class_map = fit(pair.image, side_px), fit(pair.class_map, side_px)
    palette = display_palette(classes.values())
    pictures = np.concatenate([image, overlay(image, class_map, palette, dims=True)], axis=1)
    names = names_shown([pair.class_map], classes)
    return np.concatenate([pictures, legend(names, palette, pictures.shape[1])])
