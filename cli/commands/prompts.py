"""Options of `diffumask prompts`."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    CaptionFile,
    CaptionRanking,
    Objects,
    OpenAll,
    PromptClasses,
    VocabularyName,
)
from ..result import Result


def prompts(
    classes: PromptClasses = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Prompts of each class.")] = 20,
    model: Annotated[str, typer.Option(help="As for generate; chooses the vocabulary.")] = "tiny",
    vocabulary: VocabularyName = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompts", help="As for generate.", show_default="built")
    ] = None,
    captions: CaptionFile = None,
    caption_ranking: CaptionRanking = "text",
    objects: Objects = 1,
    open_all: OpenAll = False,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    balance: Annotated[
        bool, typer.Option("--balance", help="Count sub-classes and contexts instead.")
    ] = False,
    format_: Annotated[str, typer.Option("--format", help="text or jsonl.")] = "text",
    expand: Annotated[
        str | None,
        typer.Option(
            help="Language model that goes on with the prompts: a folder or hub id.",
            show_default="none",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="For --expand and clip: auto, cpu, cuda, mps, ...")
    ] = "auto",
) -> Result:
    """Print the prompts that generate would use."""
    from ..prompts import PromptOptions, Request, run

    options = PromptOptions(
        classes or (), prompt_file, objects, open_all, captions, caption_ranking, device
    )
    request = Request(options, n, model, vocabulary, seed, balance, format_, expand)
    lines = list(run(request))
    return Result("\n".join(lines), {"lines": lines})
