"""Options of `diffumask filter`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def filter_items(
    folder: Annotated[Path, typer.Argument(help="Dataset; its items get a verdict, none is lost.")],
    alpha: Annotated[
        float | None,
        typer.Option(help="Share of each class to drop, lowest quality first.", show_default="0.3"),
    ] = None,
    min_iou: Annotated[
        float | None, typer.Option(help="Instead: drop what is below.", show_default="none")
    ] = None,
    cutoffs: Annotated[
        Path | None,
        typer.Option(help="The same by class: `bird = 0.92` (.toml, .json).", show_default="none"),
    ] = None,
    method: Annotated[str, typer.Option(help="Quality: iou or confident-learning.")] = "iou",
    min_scores: Annotated[
        list[str] | None,
        typer.Option(
            "--min-score",
            help="NAME=VALUE: drop at once what scores less; repeat.",
            show_default="none",
        ),
    ] = None,
    area: Annotated[
        str | None,
        typer.Option(
            help="LOW..HIGH: drop at once where a class covers less or more of the image.",
            show_default="any",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Networks, each trained on the others' items.")] = 3,
    model: Annotated[str, typer.Option(help="Network, as for train.")] = "upernet-tiny",
    steps: Annotated[int, typer.Option(help="Training steps of each network.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Images of a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Seed of folds and networks.")] = 0,
    apply: Annotated[
        Path | None,
        typer.Option(help="Folder of a new dataset: the kept items.", show_default="none"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="What was dropped, in pictures (.html, .png).", show_default="none"),
    ] = None,
    report_items: Annotated[int, typer.Option(help="Items of each part of the report.")] = 60,
    marks: Annotated[
        Path | None,
        typer.Option(
            help="What was accepted and rejected by hand on the page of show (.json).",
            show_default="none",
        ),
    ] = None,
    marks_only: Annotated[
        bool,
        typer.Option("--marks-only", help="Train nothing: give only the marked items a verdict."),
    ] = False,
    device: Annotated[str, typer.Option(help="As for generate.")] = "auto",
) -> Result:
    """Find the items whose masks networks do not confirm that were trained on the others.

    Verdict, reason and quality go into metadata.jsonl; train and augment leave dropped items out.
    Another alpha reads what the networks found before.
    """
    from ..filter import Request, run

    request = Request(
        folder=folder,
        alpha=alpha,
        min_iou=min_iou,
        cutoffs=cutoffs,
        method=method,
        min_scores=min_scores or (),
        area=area,
        training={
            "num_folds": folds,
            "model": model,
            "num_steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
        },
        apply=apply,
        report=report,
        report_items=report_items,
        marks=marks,
        marks_only=marks_only,
        device=device,
    )
    return run(request)
