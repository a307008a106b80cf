"""Options of `diffumask verify`."""

from pathlib import Path
from typing import Annotated

import typer

from ..one_line import errors_in_one_line

EXIT_PROBLEMS = 1


def verify(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="List whole items alone; move the rest to .broken.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take files that you changed, if they fit.")
    ] = False,
) -> None:
    """Check every line and file of a dataset: torn, missing, changed, unlisted or misfitting.

    The exit code is 0 for a whole dataset, 1 for one with problems, 2 for no dataset.
    """
    with errors_in_one_line():
        from ..verify import run

        lines, whole = run(folder, repair, accept)
        for line in lines:
            typer.echo(line)
        if not whole:
            raise typer.Exit(EXIT_PROBLEMS)
