"""Options of `diffumask affinity`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


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
) -> Result:
    """Train a network on a dataset that spreads heat to alike pixels; no mask is drawn.

    generate --affinity and remask --affinity take the folder.
    """
    from ..affinity import Request, run

    return run(Request(data, out, tuple(classes or ()), steps, seed, device))
