"""A sheet to look at: pictures, their heat, our masks and those of the controls."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from diffumask.draw import contact_sheet, display_palette, evenly, fit, heat_overlay, overlay
from diffumask.errors import InputError
from diffumask.files.atomic import write_file
from diffumask.masks.enlarge import enlarge
from diffumask.masks.settings import MaskSettings
from diffumask.types import Image

from .figures import ASKED
from .judging import OURS, row_masks
from .reading import Read, Reading

MARK = "made by diffumask doctor"
SIDE_PX = 128
SHOWN = 24  # pictures
COLUMNS = 2


def refuse_foreign(path: Path) -> None:
    """Raise InputError for a name that is no PNG's, or where something else is already."""
    if path.suffix != ".png":
        raise InputError(f"expected a page named FILE.png, got {path}")
    if path.exists() and not (path.is_file() and MARK.encode() in path.read_bytes()[:4096]):
        raise InputError(
            f"expected a free name or a page of diffumask doctor, got {path}; choose another"
        )


def write_page(
    path: Path, reads: Sequence[Read], reading: Reading, settings: MaskSettings
) -> list[str]:
    """Write pictures, evenly chosen, a row each, and return what its columns show.

    Raises InputError where the file cannot be written.
    """
    groups = [_row(reads[i], reading, settings) for i in evenly(len(reads), SHOWN)]
    names = list(groups[0])
    sheet = contact_sheet([list(group.values()) for group in groups], COLUMNS)
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", MARK)
    about.add_text("Description", ", ".join(names))
    encoded = io.BytesIO()
    PillowImage.fromarray(sheet).save(encoded, "PNG", pnginfo=about)
    write_file(path, encoded.getvalue())
    return names


def _row(read: Read, reading: Reading, settings: MaskSettings) -> dict[str, Image]:
    image, sample = fit(read.picture.image, SIDE_PX), read.samples[reading]
    heat = enlarge(sample.heats[sample.prompt.targets[0].word], (image.shape[0], image.shape[1]))
    made = row_masks(read, reading, settings)
    drawn = {"image": image, "heat": heat_overlay(image, heat)}
    drawn |= {
        "mask" if name == OURS else name: _over(image, one.mask) for name, one in made.items()
    }
    if read.picture.truth is not None:
        drawn["truth"] = _over(image, read.picture.truth == ASKED)
    return drawn


def _over(image: Image, mask: Bool[np.ndarray, "_h _w"]) -> Image:
    class_map = fit(mask.astype(np.uint8), SIDE_PX) * ASKED
    return overlay(image, class_map, display_palette([ASKED]), dims=True)
