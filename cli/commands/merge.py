"""Options of `diffumask merge`."""

from pathlib import Path
from typing import Annotated

import typer

from ..one_line import errors_in_one_line


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Folders of one run, made by --shard.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the merged dataset.")],
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files, where a hard link would do.")
    ] = False,
) -> None:
    """Merge the shards of a run to the dataset that one run would have made."""
    with errors_in_one_line():
        from ..merge import run

        typer.echo(run(shards, out, copy))
