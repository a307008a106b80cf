"""Options of `diffumask train`."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import ClassIds, IgnoreValues, Images, Layout, LearnedClasses, Mapped, Masks
from ..result import Result


def train(
    model: Annotated[
        str,
        typer.Option(
            help="upernet-tiny, segformer-tiny, segformer-b0, mask2former-tiny, mask2former with "
            "random weights, or a network or encoder of transformers, folder or hub id."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the network.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Images with masks; as for evaluate.", show_default="--images"),
    ] = None,
    images: Images = None,
    masks: Masks = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Further images with masks; repeat.", show_default="none"),
    ] = None,
    also_split: Annotated[
        str | None, typer.Option(help="Split of --also.", show_default="all")
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            help="Images with masks that choose the best checkpoint.",
            show_default="DATA with --val-split, else none",
        ),
    ] = None,
    val_split: Annotated[
        str | None, typer.Option(help="Split of --val.", show_default="all")
    ] = None,
    val_images: Annotated[
        Path | None, typer.Option(help="As --images, for --val.", show_default="none")
    ] = None,
    val_masks: Annotated[
        Path | None, typer.Option(help="As --masks, for --val.", show_default="none")
    ] = None,
    layout: Layout = "auto",
    split: Annotated[
        str | None, typer.Option(help="Split of DATA, such as train.", show_default="all")
    ] = None,
    vocabulary: ClassIds = None,
    classes: LearnedClasses = None,
    ignore_values: IgnoreValues = None,
    mapped: Mapped = None,
    use_all: Annotated[
        bool, typer.Option("--all", help="Also what `diffumask filter` dropped.")
    ] = False,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="New scenes at each step, as augment.")
    ] = False,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Images a device sees at once.")] = 16,
    gradient_accumulation: Annotated[int, typer.Option(help="Batches a step.")] = 1,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Of AdamW.",
            show_default="3e-3 upernet-tiny, segformer-tiny; 3e-4 others; 6e-5 loaded",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH of the crops in pixels.", show_default="the first image's"),
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints.", show_default="a tenth of all")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    workers: Annotated[int, typer.Option(help="Threads that make batches.")] = 2,
    device: Annotated[str, typer.Option(help="As for generate.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> Result:
    """Train a segmentation network on images with masks, made or real, for evaluate --checkpoint.

    The same command goes on where an earlier one stopped. `accelerate launch -m diffumask.cli
    train ...` shares the work among several devices.
    """
    from ..train import Request, run

    request = Request(
        data=data,
        model=model,
        out=out,
        images=images,
        masks=masks,
        also=tuple(also or ()),
        also_split=also_split,
        val=val,
        val_split=val_split,
        val_images=val_images,
        val_masks=val_masks,
        layout=layout,
        split=split,
        vocabulary=vocabulary,
        classes=tuple(classes or ()),
        ignore_values=tuple(ignore_values or ()),
        mapped=tuple(mapped or ()),
        use_all=use_all,
        augment=augment,
        steps=steps,
        batch_size=batch_size,
        gradient_accumulation=gradient_accumulation,
        learning_rate=learning_rate,
        size=size,
        checkpoint_every=checkpoint_every,
        seed=seed,
        workers=workers,
        device=device,
        precision=precision,
    )
    return run(request)
