"""One HTML page to look through a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.articles import counted
from diffumask.errors import InputError

from .option import Option, Options, StrPath
from .progress import progress
from .result import Result, printable
from .use_case import use_case

if TYPE_CHECKING:  # it loads numpy
    from diffumask.dataset.record import Record
    from diffumask.dataset.run import Run

THUMBNAILS_PX = range(16, 2049)


@dataclass(frozen=True, kw_only=True)
class ShowOptions(Options):
    """The options of `show`; an `out` of None lies beside the folder."""

    folder: Annotated[StrPath, Option("Dataset to look at.", positional=True, read=True)]
    out: Annotated[StrPath | None, Option("The page (.html).", default="FOLDER.html")] = None
    items: Annotated[int, Option("Items at most, picked evenly; a page of 1000 opens quickly.")] = (
        1000
    )
    thumbnail_px: Annotated[int, Option("Longer side of the pictures on the page, at most.")] = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out is not None and Path(self.out).suffix != ".html":
            raise InputError(f"expected a page named *.html, got {self.out}")
        if self.items < 1:
            raise InputError(f"expected items of 1 or more, got {self.items}")
        if self.thumbnail_px not in THUMBNAILS_PX:
            raise InputError(
                f"expected thumbnails of {THUMBNAILS_PX[0]}..{THUMBNAILS_PX[-1]} px, "
                f"got {self.thumbnail_px}"
            )


@use_case(ShowOptions)
def show(options: ShowOptions) -> Result[Path]:
    """Make a page to look through a dataset and to mark items.

    It is one HTML file; items are accepted or rejected in it.

    Returns its path. Raises InputError for a folder that is no dataset or has no whole item, and
    for a name that a file of something else has.
    """
    from diffumask.dataset.left_out import left_out
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.run import read_run
    from diffumask.draw import evenly
    from diffumask.gallery.page import refuse_foreign, render, write_page

    given = Path(options.folder)
    folder = given.resolve()
    out = folder.with_name(f"{folder.name}.html") if options.out is None else Path(options.out)
    refuse_foreign(out)
    run = read_run(given)
    records = sorted(read_records(given), key=lambda record: record.name)
    if not records:
        raise InputError(f"expected a dataset with items, got {given} without any")
    picked = [records[at] for at in evenly(len(records), options.items)]
    items, wrong = _read(given, picked, options.thumbnail_px, run)
    write_page(out, render(folder.name, run, items))
    count = (
        counted(len(items), "item")
        if len(items) == len(records)
        else f"{len(items)} of {counted(len(records), 'item')}"
    )
    size = out.stat().st_size
    missing = left_out(given, with_dropped=True, broken=wrong)
    remarks = [*map(printable, wrong.values()), *([str(missing)] if missing else [])]
    facts = {"page": out, "items": len(items), "of": len(records), "bytes": size}
    text = "\n".join([f"{count} in {out} ({size / 1e6:.1f} MB); open it in a browser", *remarks])
    return Result(out, text, facts | {"left_out": missing.facts()})


def _read(
    folder: Path, records: Sequence["Record"], thumbnail_px: int, run: "Run"
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the items, and what is wrong with those that are damaged, by name.

    Raises InputError where all are.
    """
    from diffumask.draw import display_palette
    from diffumask.gallery.items import read_item

    items, wrong = [], {}
    palette, heat = display_palette(run.classes.values()), run.settings.get("heat", "")
    with progress("reading", len(records)) as advance:
        for record in records:
            try:
                items.append(read_item(folder, record, thumbnail_px, heat, palette))
            except InputError as error:
                wrong[record.name] = str(error)
                if len(wrong) == len(records):
                    raise
            advance(1)
    return items, wrong
