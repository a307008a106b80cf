"""Options of `diffumask generate`."""

from pathlib import Path
from typing import Annotated

import typer

from ..one_line import errors_in_one_line
from ..options import (
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
    with errors_in_one_line():
        from ..generate import Request, run
        from ..mask_options import read_mask_options

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
