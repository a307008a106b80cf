"""Reports to look at, worst items first: image, mask, prediction, quality, verdict and reason."""

import io
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from diffumask.dataset.dataset import Dataset
from diffumask.draw import (
    GUTTER_PX,
    THUMBNAIL_QUALITY,
    caption,
    contact_sheet,
    data_uri,
    legend,
    swatch,
)
from diffumask.errors import InputError
from diffumask.files.atomic import write_file
from diffumask.gallery.html import fill, style
from diffumask.types import Image

from .admission import Outcome, by_class, summary
from .report import Entry, Report, gather

PNG_COLUMNS = 2
MARK = "made by diffumask filter"
SUFFIXES = (".html", ".png")
COLUMNS = ("image", "mask", "prediction")


def refuse_foreign(path: Path) -> None:
    """Raise InputError for a name that is no report's, or where something else is already."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"expected a report named FILE.html or FILE.png, got {path}")
    if path.exists() and not (path.is_file() and MARK.encode() in path.read_bytes()[:4096]):
        raise InputError(
            f"expected a free name or a report of diffumask filter, got {path}; choose another"
        )


def write_report(
    path: Path, outcome: Outcome, source: Dataset, predictions: Path, max_items: int
) -> None:
    """Write the report, as HTML without any other file or as PNG, in place of an earlier one.

    It shows `max_items` of each part of `report.gather`.
    """
    refuse_foreign(path)
    report = gather(outcome, source, predictions, max_items)
    write_file(path, (_html if path.suffix == ".html" else _png)(report))


def _html(report: Report) -> bytes:
    """Fill the page, which looks like that of the gallery."""
    table = by_class(report.outcome)
    return fill(
        "diffumask.noise",
        "page/report.html",
        style() + _style(),
        mark=MARK,
        title=report.title,
        summary=summary(report.outcome),
        head=table[0],
        rows=table[1:],
        legend={name: _as_png(swatch(i, report.palette)) for i, name in report.names.items()},
        parts=report.parts,
        columns=COLUMNS,
        data_uri=_as_jpeg,
    ).encode()


def _png(report: Report) -> bytes:
    """Draw the entries in two columns, each with a line of text above its pictures."""
    entries = [_strip(entry) for part in report.parts for entry in part.shown]
    sheet = contact_sheet([[strip] for strip in entries], PNG_COLUMNS)
    write = partial(caption, width_px=sheet.shape[1] - 2 * GUTTER_PX)
    lines = [report.title, *summary(report.outcome), ", ".join(COLUMNS)]
    head = [
        *map(write, lines),
        legend(report.names, report.palette, sheet.shape[1] - 2 * GUTTER_PX),
    ]
    encoded = io.BytesIO()
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK)
    whole = np.concatenate([contact_sheet([[np.concatenate(head)]], 1), sheet])
    PillowImage.fromarray(whole).save(encoded, "PNG", pnginfo=mark)
    return encoded.getvalue()


def _strip(entry: Entry) -> Image:
    """Lay the pictures of an entry out below its verdict; those that it lacks are white."""
    blank = np.full_like(entry.pictures[0], 255)
    pictures = [*entry.pictures, *[blank] * (len(COLUMNS) - len(entry.pictures))]
    row = np.concatenate(pictures, axis=1)
    verdict = "kept" if entry.verdict.is_kept else "dropped"
    text = f"{entry.name} {verdict}: {entry.verdict.reason}"
    return np.concatenate([caption(text, row.shape[1]), row])


def _style() -> str:
    return (files("diffumask.noise") / "page" / "report.css").read_text("utf-8")


def _as_jpeg(picture: Image) -> str:
    drawn = PillowImage.fromarray(picture)
    return data_uri(drawn, "JPEG", quality=THUMBNAIL_QUALITY, subsampling=0)


def _as_png(picture: Image) -> str:
    return data_uri(PillowImage.fromarray(picture), "PNG")
