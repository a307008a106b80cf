"""Options of `diffumask lora`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def lora_train(
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The LoRA (.safetensors).")],
    captions: Annotated[
        Path | None,
        typer.Option(help="Captions (.txt, .csv, .jsonl).", show_default="metadata.jsonl"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="tiny, sd15, sd21, sdxl, a model folder or a hub id.")
    ] = "tiny",
    rank: Annotated[int, typer.Option(help="Rank of the matrices.")] = 16,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder", help="Adapt the text encoder too.")
    ] = False,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Images of a step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-4,
    resolution: Annotated[
        str | None, typer.Option(help="Pixels: N or HEIGHTxWIDTH.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    device: Annotated[str, typer.Option(help="As for generate.")] = "auto",
) -> Result:
    """Train a LoRA on images with captions, so that the model draws what they show.

    generate --lora takes the file, and so does any program that reads LoRAs of diffusers.
    """
    from ..lora import Request, run

    request = Request(
        images=images,
        out=out,
        captions=captions,
        model=model,
        rank=rank,
        text_encoder=text_encoder,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        resolution=resolution,
        seed=seed,
        device=device,
    )
    return run(request)
