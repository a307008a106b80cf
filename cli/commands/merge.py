"""Options of `diffumask merge`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Folders of one run, made by --shard.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the merged dataset.")],
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files, where a hard link would do.")
    ] = False,
) -> Result:
    """Merge the shards of a run to the dataset that one run would have made."""
    from ..merge import run

    return run(shards, out, copy)
