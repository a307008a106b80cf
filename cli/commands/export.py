"""Options of `diffumask export`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def export(
    folder: Annotated[Path, typer.Argument(help="Dataset to export; stays as it is.")],
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="voc, coco, yolo, yolo-detect, cityscapes, hf, webdataset, png, or to correct "
            "masks: cvat, label-studio.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder.")],
    split: Annotated[
        float | None, typer.Option(help="Share of the items for train.", show_default="0.9")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Another seed makes another split.")] = 0,
    stratified: Annotated[
        bool, typer.Option("--stratified", help="Give each class its share of both splits.")
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Each connected component is an object.")
    ] = False,
    ids: Annotated[
        str | None,
        typer.Option(
            help="Class ids in masks: keep, or contiguous (1, 2, 3 ...); for hf, webdataset, png, "
            "voc.",
            show_default="contiguous for hf and webdataset",
        ),
    ] = None,
    png_mode: Annotated[
        str, typer.Option(help="Masks of the format png: P (palette) or L (grey, for OpenCV).")
    ] = "P",
    with_dropped: Annotated[
        bool, typer.Option("--all", help="Also the items that diffumask filter dropped.")
    ] = False,
) -> Result:
    """Write a dataset in a format that others train with, or correct masks in.

    The new folder is there as a whole or not at all. An item is in the same split whatever
    other items there are.
    """
    from ..export import Request, run

    split_as = (split, split_seed, stratified)
    masks_as = (instances, ids, png_mode)
    return run(Request(folder, format_name, out, with_dropped, *split_as, *masks_as))
