"""Options of `diffumask augment`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def augment(
    folder: Annotated[Path, typer.Argument(help="Dataset to make scenes from; stays as it is.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")],
    n: Annotated[
        int | None, typer.Option("--n", help="Items to make.", show_default="as the source has")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    splice: Annotated[float, typer.Option(help="Share of items that are a grid of images.")] = 0.4,
    copy_paste: Annotated[
        float, typer.Option(help="Share of items into which objects of others are set.")
    ] = 0.2,
    perspective: Annotated[float, typer.Option(help="Share of items that are warped.")] = 0.3,
    blur: Annotated[float, typer.Option(help="Share of items that are blurred.")] = 0.3,
    occlude: Annotated[float, typer.Option(help="Share of items with things in front.")] = 0.3,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH in pixels.", show_default="the first item's")
    ] = None,
    with_dropped: Annotated[
        bool, typer.Option("--all", help="Take items that `filter` dropped, too.")
    ] = False,
) -> Result:
    """Make new scenes from the images and masks of a dataset, in a new folder.

    The same command goes on where an earlier one stopped, in the same folder.
    """
    from ..augment import run

    shares = {
        "splice": splice,
        "copy_paste": copy_paste,
        "perspective": perspective,
        "blur": blur,
        "occlude": occlude,
    }
    return run(folder, out, n, seed, shares, size, with_dropped)
