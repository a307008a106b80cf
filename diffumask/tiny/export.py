"""Write trained pipelines as checkpoint folders in half precision."""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from diffumask.errors import InputError
from diffumask.notices import notices_off

from .card import n_bytes, write_card
from .mmdit import WITHOUT_T5

with notices_off():
    from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

HALF = torch.float16


def export(arguments: argparse.Namespace) -> None:
    """Write the trained pipeline in half precision to the checkpoint folder."""
    folder = _trained(arguments, "denoiser")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=HALF)
    _write(arguments, pipeline)


def export_mmdit(arguments: argparse.Namespace) -> None:
    """Write the trained pipeline of `tiny-mmdit` in half precision, with its card."""
    folder = _trained(arguments, "mmdit")
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, dtype=HALF, **WITHOUT_T5)
    _write(arguments, pipeline)
    write_card(arguments.out, pipeline.transformer, folder.parent)


def _trained(arguments: argparse.Namespace, stage: str) -> Path:
    folder = arguments.work / stage / "trained"
    if arguments.out is None:
        raise InputError("expected a folder to write the checkpoint to, got none; name it by --out")
    if not folder.exists():
        raise InputError(f"expected a finished training in {folder}, got none; train {stage} first")
    return folder


def _write(
    arguments: argparse.Namespace, pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline
) -> None:
    better_decoder = arguments.work / "decoder" / "trained"
    if better_decoder.exists():
        shift_factor = pipeline.vae.config["shift_factor"]
        pipeline.vae = AutoencoderKL.from_pretrained(better_decoder, dtype=HALF)
        pipeline.vae.register_to_config(shift_factor=shift_factor)
    pipeline.save_pretrained(arguments.out)
    for folder in arguments.out.glob("tokenizer*"):
        # vocab.json and merges.txt, which other readers of CLIP tokenizers want.
        pipeline.tokenizer.backend_tokenizer.model.save(str(folder))
    for path in arguments.out.rglob("*.json"):
        _make_portable(path)
    print(f"{arguments.out}: {n_bytes(arguments.out) / 1e6:.1f} MB")


def _make_portable(path: Path) -> None:
    """Drop the folder that a configuration was read from, and let its part be loaded in float32.

    Parts from transformers load in the precision their configuration names, those from diffusers
    in float32: a pipeline loaded without a dtype would mix the two.
    """
    config = json.loads(path.read_text("utf-8"))
    portable = {key: value for key, value in config.items() if key != "_name_or_path"}
    if "dtype" in portable:
        portable["dtype"] = "float32"
    if portable != config:
        path.write_text(json.dumps(portable, indent=2) + "\n", "utf-8")
