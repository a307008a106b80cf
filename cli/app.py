"""The Typer application. Commands import the stages when they run, so `--help` loads no torch."""

import os
import sys
from typing import Annotated, Any

import typer

import diffumask
from diffumask.api.use_case import UseCase

from .command import HELP_NAMES, VERSION_HELP, as_command, tell_version
from .typer_command import Command

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
    context_settings=HELP_NAMES,
)
groups = {"": app}
for name, help_text in GROUPS.items():
    groups[name] = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(groups[name], name=name, help=help_text, short_help=help_text.rstrip("."))
for name, use_case in COMMANDS.items():
    group, _, last = name.rpartition(" ")
    line = use_case.summary.partition("\n")[0].rstrip(".")
    groups[group].command(last, cls=Command, short_help=line)(as_command(use_case))


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=tell_version, is_eager=True, help=VERSION_HELP),
    ] = False,
) -> None:
    """Make image datasets with pixel masks from the cross-attention of a diffusion model."""


def main() -> None:
    """Run the command line."""
    # The libraries log advice at import that no user of the command can follow.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    sys.exit(app())
