"""Options of `diffumask verify`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def verify(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="List whole items alone; move the rest to .broken.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take files that you changed, if they fit.")
    ] = False,
) -> Result:
    """Check every line and file of a dataset: torn, missing, changed, unlisted or misfitting.

    The exit code is 0 for a whole dataset, 1 for one with problems, 2 for no dataset.
    """
    from ..verify import run

    return run(folder, repair, accept)
