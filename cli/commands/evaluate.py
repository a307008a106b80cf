"""Options of `diffumask evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import ClassIds, IgnoreValues, Images, Layout, Mapped, Masks
from ..result import Result


def evaluate(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of images with real masks.", show_default="--images"),
    ] = None,
    images: Images = None,
    masks: Masks = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Folder of predicted masks, PNG of class ids.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Instead: segmentation network of transformers, a folder or hub id."),
    ] = None,
    layout: Layout = "auto",
    split: Annotated[
        str | None, typer.Option(help="Split of the data, such as val.", show_default="all")
    ] = None,
    vocabulary: ClassIds = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class that counts; repeat.", show_default="all"),
    ] = None,
    ignore_values: IgnoreValues = None,
    mapped: Mapped = None,
    predicted_mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map-predictions", help="As --map, in the predictions.", show_default="none"
        ),
    ] = None,
    ignore_background: Annotated[
        bool, typer.Option("--ignore-background", help="Leave out pixels that are background.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Report (.json).", show_default="none")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Confusion matrix (.svg).", show_default="none")
    ] = None,
    per_image: Annotated[
        Path | None,
        typer.Option(help="Figures of each image (.csv).", show_default="none"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that read masks.", show_default="all cores")
    ] = None,
    device: Annotated[str, typer.Option(help="As for generate; for --checkpoint.")] = "auto",
) -> Result:
    """Compare predicted masks, or those of a network, with real ones: IoU, boundary F, confusion.

    The folder of the data is read as it was downloaded.
    """
    from ..evaluate import Request, run

    request = Request(
        data=data,
        images=images,
        masks=masks,
        predictions=predictions,
        checkpoint=checkpoint,
        layout=layout,
        split=split,
        vocabulary=vocabulary,
        classes=classes or (),
        ignore_values=ignore_values or (),
        ignore_background=ignore_background,
        mapped=mapped or (),
        predicted_mapped=predicted_mapped or (),
        out=out,
        plot=plot,
        per_image=per_image,
        workers=workers,
        device=device,
    )
    return run(request)
