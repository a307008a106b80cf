"""Options of `diffumask remask`."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    Affinity,
    HeatMap,
    MaskSourceName,
    Refiner,
    SegmentatorFile,
    Threshold,
    UncertainBand,
)
from ..result import Result


def remask(
    folder: Annotated[Path, typer.Argument(help="Dataset made with --keep-maps.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")],
    threshold: Threshold = "auto",
    refiner: Refiner = "auto",
    affinity: Affinity = "self-attention",
    heat: HeatMap = "auto",
    uncertain_band: UncertainBand = None,
    mask_source: MaskSourceName = "attention",
    segmentator: SegmentatorFile = None,
    model: Annotated[
        str | None,
        typer.Option(help="Whose VAE a Segmentator reads.", show_default="the dataset's"),
    ] = None,
    device: Annotated[str, typer.Option(help="As for generate; for --segmentator.")] = "auto",
) -> Result:
    """Make the masks of a dataset again with other settings, without sampling, in a new folder."""
    from ..mask_options import read_mask_options
    from ..remask import run

    options = read_mask_options(
        threshold, refiner, affinity, heat, uncertain_band, mask_source, segmentator
    )
    return run(folder, out, options, model, device)
