"""The Typer application. Commands import the stages when they run, so `--help` loads no torch."""

import os
import sys
from typing import Annotated, Any

import typer

import diffumask
from diffumask.api.use_case import UseCase

from .command import as_command

COMMANDS: dict[str, UseCase[..., Any, Any]] = {
    "generate": diffumask.generate,
    "prompts": diffumask.list_prompts,
    "models": diffumask.list_models,
    "classes": diffumask.list_classes,
    "remask": diffumask.remask,
    "calibrate": diffumask.calibrate,
    "doctor": diffumask.doctor,
    "augment": diffumask.augment_dataset,
    "filter": diffumask.filter,
    "train": diffumask.train,
    "evaluate": diffumask.evaluate,
    "show": diffumask.show,
    "export": diffumask.export,
    "import": diffumask.import_masks,
    "verify": diffumask.verify,
    "merge": diffumask.merge,
    "upload": diffumask.upload,
    "affinity train": diffumask.affinity_train,
    "lora train": diffumask.lora_train,
    "segmentator train": diffumask.segmentator_train,
    "segmentator predict": diffumask.segmentator_predict,
    "segmentator evaluate": diffumask.segmentator_evaluate,
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
    groups[group].command(last)(as_command(use_case))
for name, help_text in GROUPS.items():
    app.add_typer(groups[name], name=name, help=help_text)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"diffumask {diffumask.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def root(
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
