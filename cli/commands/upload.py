"""Options of `diffumask upload`."""

from pathlib import Path
from typing import Annotated

import typer

from ..one_line import errors_in_one_line


def upload(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    url: Annotated[str, typer.Argument(help="Where to: s3://bucket/birds, gs://..., a folder.")],
) -> None:
    """Copy a dataset to object storage; run again to copy what is new since."""
    with errors_in_one_line():
        from ..upload import run

        typer.echo(run(folder, url))
