"""Options of `diffumask calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def calibrate(
    classes: Annotated[
        list[str], typer.Option("--class", help="Class to calibrate; repeat for several.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Thresholds file (.json).")],
    n: Annotated[int, typer.Option("--n", help="Most images of each class.")] = 200,
    reference: Annotated[
        str, typer.Option(help="affinity, masks:DIR or transformers:MODEL.")
    ] = "affinity",
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset made with --keep-maps.", show_default="sample new images"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="As for generate.", show_default="tiny, or that of --data")
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="As for generate.", show_default="by model")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images at a time.", show_default="by image size")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the images and of resampling.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of the curves (.svg).", show_default="none")
    ] = None,
    device: Annotated[str, typer.Option(help="As for generate.")] = "auto",
    dtype: Annotated[str, typer.Option(help="As for generate.")] = "auto",
) -> Result:
    """Find the threshold of each class that a reference agrees with best.

    generate --threshold and remask --threshold take the file. With masks:DIR the reference is
    drawn by hand, for 10 to 20 images of --data; with transformers:MODEL a segmentation network.
    """
    from ..calibrate import Request, run

    request = Request(
        classes=classes,
        n=n,
        out=out,
        model=model,
        vocabulary=vocabulary,
        data=data,
        reference=reference,
        batch_size=batch_size,
        seed=seed,
        plot=plot,
        device=device,
        dtype=dtype,
    )
    return run(request)
