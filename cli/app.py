"""The Typer application. Commands import the stages when they run, so `--help` loads no torch."""

import os
import sys
from typing import Annotated

import typer

from diffumask import __version__
from diffumask.api.calibrate import calibrate
from diffumask.api.generate import generate
from diffumask.api.prompts import prompts
from diffumask.api.remask import remask

from . import adapt
from .command import as_command
from .commands.affinity import affinity_train
from .commands.augment import augment
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.filter import filter_items
from .commands.import_masks import import_masks
from .commands.lora import lora_train
from .commands.merge import merge
from .commands.segmentator import segmentator_evaluate, segmentator_predict, segmentator_train
from .commands.show import show
from .commands.train import train
from .commands.upload import upload
from .commands.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for use_case in (generate, prompts, remask, calibrate):
    app.command()(adapt.as_command(use_case))

for command in (
    augment,
    train,
    evaluate,
    show,
    export,
    verify,
    merge,
    upload,
):
    app.command()(as_command(command))

app.command("filter")(as_command(filter_items))
app.command("import")(as_command(import_masks))

affinity = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
affinity.command("train")(as_command(affinity_train))
app.add_typer(affinity, name="affinity", help="Train what tells alike pixels from others.")

lora = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
lora.command("train")(as_command(lora_train))
app.add_typer(lora, name="lora", help="Teach a model a domain from images with captions.")

segmentator = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
segmentator.command("train")(as_command(segmentator_train))
segmentator.command("predict")(as_command(segmentator_predict))
segmentator.command("evaluate")(as_command(segmentator_evaluate))
app.add_typer(segmentator, name="segmentator", help="Masks from the VAE decoder's hidden states.")


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


def main() -> None:
    """Run the command line."""
    # The libraries log advice at import that no user of the command can follow.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    sys.exit(app())
