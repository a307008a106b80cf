"""Options of `diffumask import`."""

from pathlib import Path
from typing import Annotated

import typer

from ..one_line import errors_in_one_line


def import_masks(
    masks: Annotated[Path, typer.Argument(help="Corrected masks: a folder, zip or JSON file.")],
    format_name: Annotated[str, typer.Option("--format", help="cvat, label-studio, coco or png.")],
    data: Annotated[Path, typer.Option(help="Dataset that the masks are of; stays as it is.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")],
) -> None:
    """Put masks that people corrected into a copy of a dataset.

    Items without a corrected mask keep theirs.
    """
    with errors_in_one_line():
        from ..import_masks import run

        typer.echo(run(masks, format_name, data, out))
