"""`diffumask show`: one HTML page to look through a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

from .one_line import printable
from .progress import progress
from .result import Result

if TYPE_CHECKING:  # it loads numpy
    from diffumask.dataset.record import Record

THUMBNAILS_PX = range(16, 2049)


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; an `out` of None lies beside the folder."""

    folder: Path
    out: Path | None = None
    items: int = 1000
    thumbnail_px: int = 256

    def __post_init__(self) -> None:
        if self.out is not None and self.out.suffix != ".html":
            raise InputError(f"expected -o FILE.html, got {self.out}")
        if self.items < 1:
            raise InputError(f"expected --items of 1 or more, got {self.items}")
        if self.thumbnail_px not in THUMBNAILS_PX:
            raise InputError(
                f"expected --thumbnail-px in {THUMBNAILS_PX[0]}..{THUMBNAILS_PX[-1]}, "
                f"got {self.thumbnail_px}"
            )


def run(request: Request) -> Result:
    """Write the page, and return lines that say where and how large it is, and what is not on it.

    Raises InputError for a folder that is no dataset or has no whole item, and for a name that a
    file of something else has.
    """
    import numpy as np

    from diffumask.dataset.left_out import left_out
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.run import read_run
    from diffumask.gallery.page import refuse_foreign, render, write_page

    folder = request.folder.resolve()
    out = request.out or folder.with_name(f"{folder.name}.html")
    refuse_foreign(out)
    settings = read_run(request.folder).settings
    records = sorted(read_records(request.folder), key=lambda record: record.name)
    if not records:
        raise InputError(f"expected a dataset with items, got {request.folder} without any")
    picks = np.linspace(0, len(records) - 1, min(request.items, len(records))).round().astype(int)
    items, wrong = _read(request, [records[pick] for pick in picks], settings.get("heat", ""))
    write_page(out, render(folder.name, settings, items))
    count = (
        f"{len(items)} items"
        if len(items) == len(records)
        else f"{len(items)} of {len(records)} items"
    )
    size = out.stat().st_size
    missing = left_out(request.folder, with_dropped=True, broken=wrong)
    told = [*map(printable, wrong.values()), *([str(missing)] if missing else [])]
    facts = {"page": out, "items": len(items), "of": len(records), "bytes": size}
    text = "\n".join([f"{count} in {out} ({size / 1e6:.1f} MB); open it in a browser", *told])
    return Result(text, facts | {"left_out": missing.facts()})


def _read(
    request: Request, records: Sequence["Record"], threshold_on: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the items, and what is wrong with those that are damaged, by name.

    Raises InputError where all are.
    """
    from diffumask.gallery.items import read_item

    items, wrong = [], {}
    with progress(len(records), 0) as advance:
        for record in records:
            try:
                items.append(read_item(request.folder, record, request.thumbnail_px, threshold_on))
            except InputError as error:
                wrong[record.name] = str(error)
                if len(wrong) == len(records):
                    raise
            advance(1)
    return items, wrong
