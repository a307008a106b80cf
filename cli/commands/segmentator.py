"""Options of `diffumask segmentator`."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import ClassIds, IgnoreValues, Layout, LearnedClasses
from ..result import Result

Data = Annotated[Path, typer.Option(help="Folder of images with masks.")]
Split = Annotated[
    str | None, typer.Option(help="Split of the data, such as train.", show_default="all")
]
Head = Annotated[Path, typer.Option("--segmentator", help="Head (.safetensors).")]
OfModel = Annotated[
    str | None,
    typer.Option("--model", help="Whose VAE it reads.", show_default="that of its training"),
]
Device = Annotated[str, typer.Option(help="As for generate.")]


def segmentator_train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The head (.safetensors).")],
    model: Annotated[
        str, typer.Option(help="tiny, sd15, sd21, sdxl, a model folder or a hub id.")
    ] = "tiny",
    head: Annotated[
        str, typer.Option(help="Design: pyramid, linear, decoder-copy or mlp.")
    ] = "pyramid",
    layout: Layout = "auto",
    split: Split = None,
    vocabulary: ClassIds = None,
    classes: LearnedClasses = None,
    ignore_values: IgnoreValues = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Images of a step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-3,
    views: Annotated[int, typer.Option(help="Changed versions of an image to encode.")] = 6,
    held_out: Annotated[float, typer.Option(help="Share of the images that validate.")] = 0.15,
    size: Annotated[
        int | None, typer.Option(help="Pixels of the shorter side.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    device: Device = "auto",
) -> Result:
    """Train a light head on the VAE decoder of a model from images with masks.

    The same command goes on where an earlier one stopped.
    """
    from ..segmentator import TrainRequest, train

    request = TrainRequest(
        data=data,
        out=out,
        model=model,
        head=head,
        layout=layout,
        split=split,
        vocabulary=vocabulary,
        classes=tuple(classes or ()),
        ignore_values=tuple(ignore_values or ()),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        views=views,
        held_out=held_out,
        size=size,
        seed=seed,
        device=device,
    )
    return train(request)


def segmentator_predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    segmentator: Head,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the masks.")],
    model: OfModel = None,
    device: Device = "auto",
) -> Result:
    """Make masks of images, also of such that were never generated, as palette PNG."""
    from ..segmentator import predict

    return predict(images, segmentator, out, model, device)


def segmentator_evaluate(
    segmentator: Head,
    data: Data,
    layout: Layout = "auto",
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Report (.json).", show_default="none")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Confusion matrix (.svg).", show_default="none")
    ] = None,
    model: OfModel = None,
    device: Device = "auto",
) -> Result:
    """Compare the masks of a head with real ones; the classes are matched by name."""
    from ..segmentator import EvaluateRequest, evaluate

    request = EvaluateRequest(segmentator, data, layout, split, out, plot, model, device)
    return evaluate(request)
