"""The stages of the recipe in order: renders, vae, denoiser, decoder, export."""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from jaxtyping import Float16

from diffumask.tiny.autoencoder import (
    new_autoencoder,
    read_photos,
    train_autoencoder,
    train_decoder,
)
from diffumask.tiny.denoiser import even_shares, new_pipeline, train_denoiser, write_sheet
from diffumask.tiny.latents import encode_images, normalise_latents
from diffumask.tiny.renders import Renders, load_renders
from diffumask.tiny.text import new_text_encoder, train_tokenizer
from diffumask.training import Schedule

VAE_STEPS = 8_000
DENOISER_STEPS = 9_000
DECODER_STEPS = 4_000
MODEL_SEED = 0


def renders(arguments: argparse.Namespace) -> Renders:
    """Render the training scenes."""
    return load_renders(arguments.work / "renders", arguments.renders)


def vae(arguments: argparse.Namespace) -> None:
    """Train the autoencoder and save it."""
    torch.manual_seed(MODEL_SEED)
    model = new_autoencoder().to(arguments.device)
    schedule = Schedule(arguments.steps or VAE_STEPS, learning_rate=1e-3)
    images = renders(arguments).images
    photos = read_photos(arguments.photos)
    train_autoencoder(model, images, photos, schedule, arguments.work / "vae")
    model.save_pretrained(arguments.work / "vae" / "trained")


def denoiser(arguments: argparse.Namespace) -> None:
    """Train the UNet and the text encoder on the autoencoder's latents, and save the pipeline."""
    folder = arguments.work / "denoiser"
    data = renders(arguments)
    torch.manual_seed(MODEL_SEED)
    start = _exported_pipeline if arguments.start else _untrained_pipeline
    pipeline, latents = start(arguments, data)
    pipeline.to(arguments.device)
    schedule = Schedule(
        arguments.steps or DENOISER_STEPS, learning_rate=5e-4, ema_decay=0.998, weight_decay=1e-2
    )
    on_checkpoint = partial(write_sheet, pipeline, folder)
    shares = even_shares(data.class_names)
    train_denoiser(pipeline, latents, data.captions, shares, schedule, folder, on_checkpoint)
    pipeline.save_pretrained(folder / "trained")


def decoder(arguments: argparse.Namespace) -> None:
    """Train the autoencoder's decoder further, the latents staying as they are, and save it."""
    data = renders(arguments)
    if arguments.start:
        pipeline, latents = _exported_pipeline(arguments, data)
        autoencoder = pipeline.vae
    else:
        autoencoder, latents = _normalised(arguments, data)
    schedule = Schedule(arguments.steps or DECODER_STEPS, learning_rate=6e-4)
    folder = arguments.work / "decoder"
    train_decoder(autoencoder, data.images, latents, schedule, folder)
    autoencoder.save_pretrained(folder / "trained")


def export(arguments: argparse.Namespace) -> None:
    """Write the trained pipeline in half precision to the checkpoint folder."""
    if arguments.out is None:
        raise SystemExit("export needs --out FOLDER")
    pipeline = StableDiffusionPipeline.from_pretrained(
        arguments.work / "denoiser" / "trained", safety_checker=None, dtype=torch.float16
    )
    better_decoder = arguments.work / "decoder" / "trained"
    if better_decoder.exists():
        pipeline.vae = AutoencoderKL.from_pretrained(better_decoder, dtype=torch.float16)
    pipeline.save_pretrained(arguments.out)
    # vocab.json and merges.txt, which other readers of CLIP tokenizers want.
    pipeline.tokenizer.backend_tokenizer.model.save(str(arguments.out / "tokenizer"))
    for path in arguments.out.rglob("*.json"):
        _make_portable(path)


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


def _untrained_pipeline(
    arguments: argparse.Namespace, data: Renders
) -> tuple[StableDiffusionPipeline, Float16[np.ndarray, "n c h w"]]:
    """Build a pipeline around the trained autoencoder; return it with the renders' latents."""
    autoencoder, latents = _normalised(arguments, data)
    tokenizer = train_tokenizer(data.captions, arguments.work / "denoiser" / "tokenizer")
    return new_pipeline(autoencoder, new_text_encoder(tokenizer), tokenizer), latents


def _exported_pipeline(
    arguments: argparse.Namespace, data: Renders
) -> tuple[StableDiffusionPipeline, Float16[np.ndarray, "n c h w"]]:
    """Read an exported pipeline, whose latents are normalised, to train it further."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        arguments.start, safety_checker=None, dtype=torch.float32
    )
    pipeline.vae.eval().requires_grad_(False)
    path = arguments.work / "latents.npy"
    return pipeline, encode_images(pipeline.vae, data.images, path)


def _normalised(
    arguments: argparse.Namespace, data: Renders
) -> tuple[AutoencoderKL, Float16[np.ndarray, "n c h w"]]:
    """Return the frozen autoencoder with latents of unit variance, and those of the renders."""
    autoencoder = AutoencoderKL.from_pretrained(arguments.work / "vae" / "trained")
    autoencoder = autoencoder.to(arguments.device).eval().requires_grad_(False)
    path = arguments.work / "latents.npy"
    values = torch.from_numpy(encode_images(autoencoder, data.images, path)).float()
    mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
    normalise_latents(autoencoder, mean.to(arguments.device), std.to(arguments.device))
    normalised = (values - mean[:, None, None]) / std[:, None, None]
    return autoencoder, normalised.half().numpy()


STAGES = {
    "renders": renders,
    "vae": vae,
    "denoiser": denoiser,
    "decoder": decoder,
    "export": export,
}
