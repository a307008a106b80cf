"""Options of `diffumask show`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def show(
    folder: Annotated[Path, typer.Argument(help="Dataset to look at.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page (.html).", show_default="FOLDER.html"),
    ] = None,
    items: Annotated[
        int, typer.Option(help="Items at most, picked evenly; a page of 1000 opens quickly.")
    ] = 1000,
    thumbnail_px: Annotated[
        int, typer.Option(help="Longer side of the pictures on the page, at most.")
    ] = 256,
) -> Result:
    """Make a page to look through a dataset and to accept or reject items: one HTML file."""
    from ..show import Request, run

    return run(Request(folder, out, items, thumbnail_px))
