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
            help="voc, coco, yolo, cityscapes, hf, webdataset, png, or to correct masks: cvat, "
            "label-studio.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder.")],
    split: Annotated[
        float | None, typer.Option(help="Share of the items for train.", show_default="0.9")
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Each connected component is an object.")
    ] = False,
    with_dropped: Annotated[
        bool, typer.Option("--all", help="Also the items that diffumask filter dropped.")
    ] = False,
) -> Result:
    """Write a dataset in a format that others train with, or correct masks in.

    The new folder is there as a whole or not at all. An item is in the same split whatever
    other items there are.
    """
    from ..export import Request, run

    return run(Request(folder, format_name, out, split, instances, with_dropped))
