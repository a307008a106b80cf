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

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
    classes: Annotated[
        list[str], typer.Option("--class", help="Class to generate; repeat for several.")
    ],
    n: Annotated[int, typer.Option("--n", help="Images of each class.")] = 100,
    out: Annotated[
        Path | None, typer.Option(help="Dataset folder.", show_default="diffumask-out/CLASS")
    ] = None,
    model: Annotated[
        str, typer.Option(help="tiny, sd15, sd21, sdxl, a model folder or a hub id.")
    ] = "tiny",
    vocabulary: Annotated[
        str | None,
        typer.Option(
            help="tiny, voc or a TOML file of classes.", show_default="tiny for tiny, else voc"
        ),
    ] = None,
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
    threshold: Annotated[
        str, typer.Option(help="auto (Otsu for each image) or a number in [0, 1).")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
) -> None:
    """Generate images of classes, each with the mask of its object.

    The same command goes on where an earlier one stopped, in the same folder.
    """
    with _errors_in_one_line():
        from .generate import Request, run

        request = Request(
            classes=classes,
            n=n,
            out=out,
            model=model,
            vocabulary=vocabulary,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            height=height,
            width=width,
            batch_size=batch_size,
            seed=seed,
            threshold=threshold,
            device=device,
            dtype=dtype,
        )
        typer.echo(run(request))


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
