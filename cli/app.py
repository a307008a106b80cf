"""The Typer application. Commands import the stages when they run, so `--help` loads no torch."""

import os
import sys
from typing import Annotated, Any

import typer

from diffumask import __version__
from diffumask.api.affinity_train import affinity_train
from diffumask.api.calibrate import calibrate
from diffumask.api.evaluate import evaluate
from diffumask.api.generate import generate
from diffumask.api.list_prompts import list_prompts
from diffumask.api.lora_train import lora_train
from diffumask.api.remask import remask
from diffumask.api.segmentator_evaluate import segmentator_evaluate
from diffumask.api.segmentator_predict import segmentator_predict
from diffumask.api.segmentator_train import segmentator_train
from diffumask.api.train import train
from diffumask.api.use_case import UseCase

from .adapt import as_command as as_command_of
from .command import as_command
from .commands.augment import augment
from .commands.export import export
from .commands.filter import filter_items
from .commands.import_masks import import_masks
from .commands.merge import merge
from .commands.show import show
from .commands.upload import upload
from .commands.verify import verify

COMMANDS: dict[str, UseCase[..., Any, Any]] = {
    "generate": generate,
    "prompts": list_prompts,
    "remask": remask,
    "calibrate": calibrate,
    "evaluate": evaluate,
    "affinity train": affinity_train,
    "lora train": lora_train,
    "train": train,
    "segmentator train": segmentator_train,
    "segmentator predict": segmentator_predict,
    "segmentator evaluate": segmentator_evaluate,
}
OLD_COMMANDS = {
    "augment": augment,
    "show": show,
    "export": export,
    "verify": verify,
    "merge": merge,
    "upload": upload,
    "filter": filter_items,
    "import": import_masks,
}
GROUPS = {
    "affinity": "Train what tells alike pixels from others.",
    "lora": "Teach a model a domain from images with captions.",
    "segmentator": "Masks from the VAE decoder's hidden states.",
}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
groups = {"": app}
for name in GROUPS:
    groups[name] = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for name, use_case in COMMANDS.items():
    group, _, last = name.rpartition(" ")
    groups[group].command(last)(as_command_of(use_case))
for name, old in OLD_COMMANDS.items():
    group, _, last = name.rpartition(" ")
    groups[group].command(last)(as_command(old))
for name, help_text in GROUPS.items():
    app.add_typer(groups[name], name=name, help=help_text)


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
