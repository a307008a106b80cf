"""Options of `diffumask generate`."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    Affinity,
    CaptionFile,
    CaptionRanking,
    HeatMap,
    MaskSourceName,
    Objects,
    OpenAll,
    PromptClasses,
    PromptFile,
    Refiner,
    SegmentatorFile,
    Threshold,
    UncertainBand,
    VocabularyName,
)
from ..result import Result


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
    caption_ranking: CaptionRanking = "text",
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
    mask_source: MaskSourceName = "attention",
    segmentator: SegmentatorFile = None,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep the heat maps, for remask and calibrate.")
    ] = False,
    shard: Annotated[
        str, typer.Option(help="Make part i of k, for merge: 2/8.", show_default="all")
    ] = "1/1",
    resume: Annotated[
        str, typer.Option(help="auto goes on with a folder; never refuses one with items.")
    ] = "auto",
    ray: Annotated[
        str | None,
        typer.Option(help="Make items on Ray: local, auto or HOST:PORT.", show_default="off"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Workers on Ray.", show_default="one per GPU, or CPU")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell items, time, memory and disk; start nothing.")
    ] = False,
    gpu: Annotated[
        str | None,
        typer.Option(help="GPU that --dry-run counts with: A100, L4, ...", show_default="none"),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(help="Seconds of an image, for --dry-run.", show_default="estimated"),
    ] = None,
    lora: Annotated[
        Path | None, typer.Option(help="LoRA to draw with (.safetensors).", show_default="none")
    ] = None,
    lora_scale: Annotated[float, typer.Option(help="How much of the LoRA: 0 is none.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
) -> Result:
    """Generate images of classes, each with the mask of its object.

    The same command goes on where an earlier one stopped, in the same folder.
    """
    from diffumask.dataset.shards import parse_shard

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
        caption_ranking=caption_ranking,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        batch_size=batch_size,
        seed=seed,
        masks=read_mask_options(
            threshold, refiner, affinity, heat, uncertain_band, mask_source, segmentator
        ),
        keep_maps=keep_maps,
        shard=parse_shard(shard),
        resume=resume,
        ray=ray,
        workers=workers,
        dry_run=dry_run,
        gpu=gpu,
        pace_s=pace,
        lora=lora,
        lora_scale=lora_scale,
        device=device,
        dtype=dtype,
    )
    return run(request)
