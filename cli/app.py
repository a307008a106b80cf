"""The Typer application. Commands import the stages when they run, so `--help` loads no torch."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from diffumask import __version__
from diffumask.errors import InputError

from .options import (
    Affinity,
    CaptionFile,
    HeatMap,
    Objects,
    OpenAll,
    PromptClasses,
    PromptFile,
    Refiner,
    Threshold,
    UncertainBand,
    VocabularyName,
)

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

affinity_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(affinity_app, name="affinity", help="Train what tells alike pixels from others.")


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"diffumask {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def diffumask(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Make image datasets with pixel masks from the cross-attention of a diffusion model."""


@app.command()
def generate(
    classes: PromptClasses = None,
    n: Annotated[int, typer.Option("--n", help="Images of each class.")] = 100,
    out: Annotated[
        Path | None, typer.Option(help="Dataset folder.", show_default="diffumask-out/CLASS")
    ] = None,
    model: Annotated[
        str, typer.Option(help="tiny, sd15, sd21, sdxl, a model folder or a hub id.")
    ] = "tiny",
    vocabulary: VocabularyName = None,
    prompts: PromptFile = None,
    captions: CaptionFile = None,
    objects: Objects = 1,
    open_all: OpenAll = False,
    num_inference_steps: Annotated[
        int | None, typer.Option(help="Denoising steps.", show_default="the model's")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Guidance; 1 is off.", show_default="the model's")
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Pixels, divisible by 8.", show_default="the model's")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Pixels, divisible by 8.", show_default="the model's")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images at a time.", show_default="by image size")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    threshold: Threshold = "auto",
    refiner: Refiner = "auto",
    affinity: Affinity = "self-attention",
    heat: HeatMap = "auto",
    uncertain_band: UncertainBand = None,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep the heat maps, for remask and calibrate.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
) -> None:
    """Generate images of classes, each with the mask of its object.

    The same command goes on where an earlier one stopped, in the same folder.
    """
    with _errors_in_one_line():
        from .generate import Request, run
        from .mask_options import read_mask_options

        request = Request(
            classes=classes or (),
            n=n,
            out=out,
            model=model,
            vocabulary=vocabulary,
            prompts=prompts,
            objects=objects,
            open_all=open_all,
            captions=captions,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            height=height,
            width=width,
            batch_size=batch_size,
            seed=seed,
            masks=read_mask_options(threshold, refiner, affinity, heat, uncertain_band),
            keep_maps=keep_maps,
            device=device,
            dtype=dtype,
        )
        typer.echo(run(request))


@app.command()
def prompts(
    classes: PromptClasses = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Prompts of each class.")] = 20,
    model: Annotated[str, typer.Option(help="As for generate; chooses the vocabulary.")] = "tiny",
    vocabulary: VocabularyName = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompts", help="As for generate.", show_default="built")
    ] = None,
    captions: CaptionFile = None,
    objects: Objects = 1,
    open_all: OpenAll = False,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    balance: Annotated[
        bool, typer.Option("--balance", help="Count sub-classes and contexts instead.")
    ] = False,
    format_: Annotated[str, typer.Option("--format", help="text or jsonl.")] = "text",
) -> None:
    """Print the prompts that generate would use."""
    with _errors_in_one_line():
        from .prompts import PromptOptions, Request, run

        options = PromptOptions(classes or (), prompt_file, objects, open_all, captions)
        request = Request(options, n, model, vocabulary, seed, balance, format_)
        for line in run(request):
            typer.echo(line)


@app.command()
def remask(
    folder: Annotated[Path, typer.Argument(help="Dataset made with --keep-maps.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")],
    threshold: Threshold = "auto",
    refiner: Refiner = "auto",
    affinity: Affinity = "self-attention",
    heat: HeatMap = "auto",
    uncertain_band: UncertainBand = None,
) -> None:
    """Make the masks of a dataset again with other settings, without sampling, in a new folder."""
    with _errors_in_one_line():
        from .mask_options import read_mask_options
        from .remask import run

        typer.echo(
            run(folder, out, read_mask_options(threshold, refiner, affinity, heat, uncertain_band))
        )


@app.command()
def calibrate(
    classes: Annotated[
        list[str], typer.Option("--class", help="Class to calibrate; repeat for several.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Thresholds file (.json).")],
    n: Annotated[int, typer.Option("--n", help="Most images of each class.")] = 200,
    reference: Annotated[
        str, typer.Option(help="affinity, oracle, masks:DIR or transformers:MODEL.")
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
) -> None:
    """Find the threshold of each class that a reference agrees with best.

    generate --threshold and remask --threshold take the file. With masks:DIR the reference is
    drawn by hand, for 10 to 20 images of --data; with transformers:MODEL a segmentation network.
    """
    with _errors_in_one_line():
        from .calibrate import Request, run

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
        typer.echo(run(request))


@app.command()
def augment(
    folder: Annotated[Path, typer.Argument(help="Dataset to make scenes from; stays as it is.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")],
    n: Annotated[
        int | None, typer.Option("--n", help="Items to make.", show_default="as the source has")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    splice: Annotated[float, typer.Option(help="Share of items that are a grid of images.")] = 0.4,
    copy_paste: Annotated[
        float, typer.Option(help="Share of items into which objects of others are set.")
    ] = 0.2,
    perspective: Annotated[float, typer.Option(help="Share of items that are warped.")] = 0.3,
    blur: Annotated[float, typer.Option(help="Share of items that are blurred.")] = 0.3,
    occlude: Annotated[float, typer.Option(help="Share of items with things in front.")] = 0.3,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH in pixels.", show_default="the first item's")
    ] = None,
) -> None:
    """Make new scenes from the images and masks of a dataset, in a new folder.

    The same command goes on where an earlier one stopped, in the same folder.
    """
    with _errors_in_one_line():
        from .augment import run

        shares = {
            "splice": splice,
            "copy_paste": copy_paste,
            "perspective": perspective,
            "blur": blur,
            "occlude": occlude,
        }
        typer.echo(run(folder, out, n, seed, shares, size))


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of images with real masks.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Folder of predicted masks, PNG of class ids.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Instead: segmentation network of transformers, a folder or hub id."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(help="auto, native, voc, cityscapes, oxford-pets, ade20k, camvid, plain."),
    ] = "auto",
    split: Annotated[
        str | None, typer.Option(help="Split of the data, such as val.", show_default="all")
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            help='Class ids: a vocabulary, its TOML, or JSON such as {"bird": 3}.',
            show_default="those of the data",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class that counts; repeat.", show_default="all"),
    ] = None,
    ignore_values: Annotated[
        list[int] | None,
        typer.Option("--ignore-value", help="Further value of the masks that is as 255; repeat."),
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
    workers: Annotated[
        int | None, typer.Option(help="Processes that read masks.", show_default="all cores")
    ] = None,
    device: Annotated[str, typer.Option(help="As for generate; for --checkpoint.")] = "auto",
) -> None:
    """Compare predicted masks, or those of a network, with real ones: IoU, boundary F, confusion.

    The folder of the data is read as it was downloaded.
    """
    with _errors_in_one_line():
        from .evaluate import Request, run

        request = Request(
            data=data,
            predictions=predictions,
            checkpoint=checkpoint,
            layout=layout,
            split=split,
            vocabulary=vocabulary,
            classes=classes or (),
            ignore_values=ignore_values or (),
            ignore_background=ignore_background,
            out=out,
            plot=plot,
            workers=workers,
            device=device,
        )
        typer.echo(run(request))


@affinity_app.command("train")
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
    with _errors_in_one_line():
        from .affinity import Request, run

        typer.echo(run(Request(data, out, tuple(classes or ()), steps, seed, device)))


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Print what the user can mend as one line on stderr, and exit with a code of its own."""
    try:
        yield
    except InputError as error:
        typer.echo(f"diffumask: {error}", err=True)
        raise typer.Exit(EXIT_INPUT_ERROR) from None
    except KeyboardInterrupt as interrupt:
        typer.echo(f"diffumask: stopped; {interrupt}".rstrip("; "), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def main() -> None:
    """Run the command line."""
    # The libraries log advice at import that no user of the command can follow.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    sys.exit(app())
