"""`diffumask show`: one HTML page to look through a dataset."""

from dataclasses import dataclass
from pathlib import Path

from diffumask.errors import InputError

from .progress import progress
from .result import Result

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
    """Write the page, and return a line that says where and how large it is.

    Raises InputError for a folder that is no dataset or is empty, for an item that is damaged,
    and for a name that a file of something else has.
    """
    import numpy as np

    from diffumask.gallery.items import read_item
    from diffumask.gallery.page import refuse_foreign, render, write_page
    from diffumask.records import read_records, record_name
    from diffumask.store import read_run

    folder = request.folder.resolve()
    out = request.out or folder.with_name(f"{folder.name}.html")
    refuse_foreign(out)
    settings = read_run(request.folder)["settings"]
    records = sorted(read_records(request.folder), key=record_name)
    if not records:
        raise InputError(f"expected a dataset with items, got {request.folder} without any")
    picks = np.linspace(0, len(records) - 1, min(request.items, len(records))).round().astype(int)
    items = []
    with progress(len(picks), 0) as advance:
        for pick in picks:
            items.append(
                read_item(
                    request.folder, records[pick], request.thumbnail_px, settings.get("heat", "")
                )
            )
            advance(1)
    write_page(out, render(folder.name, settings, items))
    count = (
        f"{len(items)} items"
        if len(items) == len(records)
        else f"{len(items)} of {len(records)} items"
    )
    size = out.stat().st_size
    facts = {"page": out, "items": len(items), "of": len(records), "bytes": size}
    return Result(f"{count} in {out} ({size / 1e6:.1f} MB); open it in a browser", facts)
