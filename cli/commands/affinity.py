"""Options of `diffumask affinity`."""

from pathlib import Path
from typing import Annotated

import typer

from ..one_line import errors_in_one_line


def affinity_train(
    data: Annotated[Path, typer.Option(help="Dataset made with --keep-maps.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the network.")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class to train on; repeat.", show_default="all"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training steps of 16 images.", show_default="300")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    device: Annotated[str, typer.Option(help="As for generate.")] = "auto",
) -> None:
    """Train a network on a dataset that spreads heat to alike pixels; no mask is drawn.

    generate --affinity and remask --affinity take the folder.
    """
    with errors_in_one_line():
        from ..affinity import Request, run

        typer.echo(run(Request(data, out, tuple(classes or ()), steps, seed, device)))
