"""Reports to look at, worst items first: image, mask, prediction, quality, verdict and reason."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL import Image as PillowImage
from PIL import ImageDraw, PngImagePlugin

from diffumask.dataset.dataset import Dataset
from diffumask.draw import THUMBNAIL_QUALITY, data_uri, display_palette, fit, overlay
from diffumask.errors import InputError
from diffumask.files.atomic import write_file
from diffumask.labelled.pixels import read_indices
from diffumask.types import Image

from .admission import Outcome, admission
from .verdicts import Verdict

SIDE_PX = 160
PNG_COLUMNS = 2
CAPTION_PX = 18
MARK = "made by diffumask filter"
SUFFIXES = (".html", ".png")


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of the report; without a prediction where a gate stopped it."""

    name: str
    class_names: Sequence[str]
    verdict: Verdict
    pictures: Sequence[Image]


@dataclass(frozen=True, slots=True)
class Part:
    """Items of one kind: `shown` of `total`."""

    title: str
    total: int
    shown: Sequence[Entry]


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

    It shows `max_items` of each part: what the quality dropped and what the gates stopped, worst
    first, and what was kept, next to the cut first.
    """
    refuse_foreign(path)
    parts = _parts(outcome, source, predictions, max_items)
    make: Callable[[str, Sequence[Part], str], bytes] = _html if path.suffix == ".html" else _png
    content = make(source.folder.name, parts, admission(outcome))
    write_file(path, content)


def _parts(outcome: Outcome, source: Dataset, predictions: Path, max_items: int) -> list[Part]:
    positions = {record.name: i for i, record in enumerate(source.records)}
    items = {item.name: item for item in outcome.items}
    palette = display_palette(source.classes.values())
    ranked = sorted(items, key=lambda name: (outcome.verdicts[name].quality or 0.0, name))

    def entry(name: str) -> Entry:
        verdict = outcome.verdicts[name]
        pair = source.decode(positions[name])
        masks = [pair.class_map]
        if verdict.qualities:
            masks.append(read_indices(predictions / f"{name}.png"))
        image = fit(pair.image, SIDE_PX)
        drawn = [overlay(image, fit(mask, SIDE_PX), palette, dims=True) for mask in masks]
        return Entry(name, list(items[name].areas), verdict, [image, *drawn])

    def part(title: str, wanted: Callable[[Verdict], bool]) -> Part:
        names = [name for name in ranked if wanted(outcome.verdicts[name])]
        return Part(title, len(names), [entry(name) for name in names[:max_items]])

    return [
        part(
            f"Dropped by {outcome.measure}",
            lambda verdict: not verdict.is_kept and bool(verdict.qualities),
        ),
        part("Stopped by a gate", lambda verdict: not verdict.is_kept and not verdict.qualities),
        part("Kept, next to the cut", lambda verdict: verdict.is_kept),
    ]


def _html(title: str, parts: Sequence[Part], summary: str) -> bytes:
    text = files("diffumask.noise").joinpath("page.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["data_uri"] = _as_jpeg
    page = environment.from_string(text)
    return page.render(mark=MARK, title=title, parts=parts, summary=summary).encode()


def _as_jpeg(picture: Image) -> str:
    return data_uri(PillowImage.fromarray(picture), "JPEG", quality=THUMBNAIL_QUALITY)


def _png(title: str, parts: Sequence[Part], summary: str) -> bytes:
    """Draw the entries in two columns, each with a line of text above its pictures."""
    summary, _, _ = summary.partition("\n\n")  # its table needs letters of one width
    entries = [entry for part in parts for entry in part.shown]
    pitch_x, pitch_y = 3 * SIDE_PX + CAPTION_PX, SIDE_PX + 2 * CAPTION_PX
    rows = -(-len(entries) // PNG_COLUMNS)
    head = CAPTION_PX * (summary.count("\n") + 3)
    size = (PNG_COLUMNS * pitch_x, head + rows * pitch_y)
    sheet = PillowImage.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 2), f"{title}\n{summary}", fill="black", spacing=6)
    for place, entry in enumerate(entries):
        row, column = divmod(place, PNG_COLUMNS)
        x, y = column * pitch_x, head + row * pitch_y
        verdict = "kept" if entry.verdict.is_kept else "dropped"
        draw.text((x + 2, y + 2), f"{entry.name} {verdict}: {entry.verdict.reason}", fill="black")
        for i, picture in enumerate(entry.pictures):
            sheet.paste(PillowImage.fromarray(picture), (x + i * SIDE_PX, y + CAPTION_PX))
    encoded = io.BytesIO()
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK)
    sheet.save(encoded, "PNG", pnginfo=mark)
    return encoded.getvalue()
