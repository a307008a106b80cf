"""Options of `diffumask import`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def import_masks(
    masks: Annotated[
        Path, typer.Argument(help="Corrected masks: a folder, zip, JSON or XML file.")
    ],
    format_name: Annotated[str, typer.Option("--format", help="cvat, label-studio, coco or png.")],
    data: Annotated[Path, typer.Option(help="Dataset that the masks are of; stays as it is.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")],
) -> Result:
    """Put masks that people corrected into a copy of a dataset.

    Items without a corrected mask keep theirs.
    """
    from ..import_masks import run

    return run(masks, format_name, data, out)
