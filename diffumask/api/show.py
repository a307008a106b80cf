"""A page to look through a dataset: one HTML file, or served while items are being made."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.articles import counted
from diffumask.errors import InputError

from .option import Option, Options, StrPath
from .progress import log, progress
from .result import Result, printable
from .use_case import use_case

if TYPE_CHECKING:  # it loads numpy
    from diffumask.gallery.entries import Entry, Source

THUMBNAILS_PX = range(16, 2049)
PORTS = range(65536)
DEFAULT_ITEMS = 1000
NAMED = 5  # broken items in the text


@dataclass(frozen=True, kw_only=True)
class ShowOptions(Options):
    """The options of `show`; an `out` of None lies beside the folder."""

    folder: Annotated[StrPath, Option("Dataset to look at.", positional=True, read=True)]
    out: Annotated[StrPath | None, Option("The page (.html).", default="FOLDER.html")] = None
    against: Annotated[
        StrPath | None,
        Option(
            "Another dataset of the same items, to compare masks with.", default="none", read=True
        ),
    ] = None
    open: Annotated[bool, Option("Open the page in a browser.")] = False
    serve: Annotated[
        bool, Option("Serve the page to this machine, with new items as they are made.")
    ] = False
    port: Annotated[
        int | None, Option("Where to serve it; 0 is a free port.", default="8410, or a free one")
    ] = None
    items: Annotated[int | None, Option("Items at most, picked evenly.", default="1000")] = None
    thumbnail_px: Annotated[int, Option("Longer side of the pictures on the page, at most.")] = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out is not None and Path(self.out).suffix != ".html":
            hint = "; name a file in it" if Path(self.out).is_dir() else ""
            raise InputError(f"expected a page named *.html, got {self.out}{hint}")
        if self.items is not None and self.items < 1:
            raise InputError(f"expected items of 1 or more, got {self.items}")
        if self.thumbnail_px not in THUMBNAILS_PX:
            raise InputError(
                f"expected thumbnails of {THUMBNAILS_PX[0]}..{THUMBNAILS_PX[-1]} px, "
                f"got {self.thumbnail_px}"
            )
        if self.port is not None and self.port not in PORTS:
            raise InputError(f"expected a port of 0..{PORTS[-1]}, got {self.port}")
        if self.serve and (self.out is not None or self.items is not None):
            raise InputError(
                "expected a page of all items that is served, got one to write or to pick items "
                "for; leave out either"
            )
        if self.port is not None and not self.serve:
            raise InputError(f"expected a page that is served, got port {self.port} for a file")


@use_case(ShowOptions)
def show(options: ShowOptions) -> Result[Path]:
    """Make a page to look through a dataset and to mark items.

    It is one HTML file; items are accepted or rejected in it. Where it is served, the page shows
    new items as they are made, until Ctrl-C ends it.

    Returns the path of the page, or the dataset where it was served. Raises InputError for a folder
    that is no dataset or has no whole item, and for a name that a file of something else has.
    """
    from diffumask.gallery.entries import Source

    against = None if options.against is None else Path(options.against)
    source = Source(Path(options.folder), against, options.thumbnail_px)
    return _serve(options, source) if options.serve else _write(options, source)


def _write(options: ShowOptions, source: "Source") -> Result[Path]:
    from diffumask.dataset.left_out import left_out
    from diffumask.draw import evenly
    from diffumask.gallery.page import refuse_foreign, render, write_page

    folder = source.folder.resolve()
    out = folder.with_name(f"{folder.name}.html") if options.out is None else Path(options.out)
    refuse_foreign(out)
    run = source.run()
    entries = source.entries()
    if all(entry.this is None or entry.this.fault for entry in entries.values()):
        raise InputError(f"expected a dataset with items, got {source.folder} without any")
    names = list(entries)
    picked = [names[at] for at in evenly(len(names), options.items or DEFAULT_ITEMS)]
    items = _read(source, {name: entries[name] for name in picked}, run.settings)
    write_page(out, render(folder.name, run, items, against=_name(source.against)))
    broken = {item["name"]: item["broken"] for item in items if "broken" in item}
    lines = left_out(source.folder, with_dropped=True).lines
    facts = {"page": out, "items": len(items), "of": len(names), "bytes": out.stat().st_size}
    text = "\n".join([_headline(facts), *_remarks(source.folder, broken, lines)])
    if options.open:
        _open_browser(out.resolve().as_uri())
    return Result(out, text, facts | {"broken": broken, "lines": lines})


def _read(
    source: "Source", entries: Mapping[str, "Entry"], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Read the items. Raises InputError where all are broken."""
    items = []
    with progress("reading", len(entries)) as advance:
        for entry in entries.values():
            items.append(source.read(entry, settings.get("heat", "")))
            advance(1)
    if all("broken" in item for item in items):
        raise InputError(items[-1]["broken"])
    return items


def _headline(facts: Mapping[str, Any]) -> str:
    picked = "" if facts["items"] == facts["of"] else f"{facts['items']} of "
    count = picked + counted(facts["of"], "item")
    return f"{count} in {facts['page']} ({facts['bytes'] / 1e6:.1f} MB); open it in a browser"


def _remarks(folder: Path, broken: Mapping[str, str], n_lines: int) -> list[str]:
    told = [printable(reason) for reason in list(broken.values())[:NAMED]]
    more = ", ".join([*list(broken)[:NAMED], *(["..."] if len(broken) > NAMED else [])])
    if broken:
        told.append(f"{len(broken)} broken ({more}), shown as such")
    if n_lines:
        told.append(f"{n_lines} {'lines that are' if n_lines > 1 else 'line that is'} no record")
    return [*told, f"see what diffumask verify {folder} says"] if told else []


def _serve(options: ShowOptions, source: "Source") -> Result[Path]:
    from diffumask.gallery.live import Live
    from diffumask.gallery.page import render
    from diffumask.gallery.server import open_server

    title = source.folder.resolve().name

    def render_page() -> str:
        return render(title, source.run(), [], against=_name(source.against), is_live=True)

    render_page()  # a folder that is no dataset is refused now
    with open_server(options.port, render_page, Live(source)) as server:
        with suppress(KeyboardInterrupt):  # the way to end it
            log.info("%s is at %s until Ctrl-C", title, server.url)
            if options.open:
                _open_browser(server.url)
            server.serve_forever()
        return Result(source.folder, f"served {source.folder}", {"url": server.url})


def _open_browser(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        log.info("no browser was found to open %s", url)


def _name(folder: Path | None) -> str:
    return "" if folder is None else folder.resolve().name
