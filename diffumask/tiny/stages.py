"""The stages of the recipe in order: renders, vae, latents, denoiser, decoder, export."""

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float16

from diffumask.notices import notices_off
from diffumask.training import Schedule
from diffumask.training.distributed import is_first_process

from .autoencoder import new_autoencoder, read_photos, train_autoencoder, train_decoder
from .denoiser import even_shares, new_pipeline, train_denoiser, write_sheet
from .latents import encode_images, normalise_latents
from .pace import steps_within
from .renders import Renders, load_renders
from .text import new_text_encoder, train_tokenizer

with notices_off():
    from diffusers import StableDiffusionPipeline

VAE_STEPS, VAE_BATCH_SIZE = 10_000, 16  # batches of each process
DENOISER_STEPS, DENOISER_BATCH_SIZE = 32_000, 32
DECODER_STEPS = 4_000
MODEL_SEED = 0

Model = TypeVar("Model", AutoencoderKL, StableDiffusionPipeline)


def renders(arguments: argparse.Namespace) -> Renders:
    """Render the training scenes."""
    return load_renders(arguments.work / "renders", arguments.renders)


def vae(arguments: argparse.Namespace) -> None:
    """Train the autoencoder and save it."""
    torch.manual_seed(MODEL_SEED)
    model = new_autoencoder(arguments.latent_channels).to(arguments.device)
    images, photos = renders(arguments).images, read_photos(arguments.photos)
    folder = arguments.work / "vae"
    schedule = _schedule(arguments, Schedule(VAE_STEPS, learning_rate=1e-3))
    batch_size = arguments.batch_size or VAE_BATCH_SIZE

    def train_steps(model: AutoencoderKL, schedule: Schedule, folder: Path) -> None:
        train_autoencoder(model, images, photos, schedule, folder, batch_size)

    train_steps(model, _paced(arguments, schedule, model, train_steps, folder), folder)
    if is_first_process():
        model.save_pretrained(folder / "trained")


def latents(arguments: argparse.Namespace) -> None:
    """Encode the renders and learn the tokenizer, before several processes want both at once."""
    _untrained_pipeline(arguments, renders(arguments))


def denoiser(arguments: argparse.Namespace) -> None:
    """Train the UNet and the text encoder on the autoencoder's latents, and save the pipeline."""
    folder = arguments.work / "denoiser"
    data = renders(arguments)
    torch.manual_seed(MODEL_SEED)
    start = _exported_pipeline if arguments.start else _untrained_pipeline
    pipeline, encoded = start(arguments, data)
    pipeline.to(arguments.device)
    plain = Schedule(
        DENOISER_STEPS,
        learning_rate=3e-4,  # with twice that it came apart after 6,400 steps
        ema_decay=0.999,
        weight_decay=1e-2,
        checkpoint_every=250,  # minutes on a CPU, which may be taken away
        diverged_ratio=1.5,
    )
    schedule = _schedule(arguments, plain)
    shares = even_shares(data.class_names)
    batch_size = arguments.batch_size or DENOISER_BATCH_SIZE

    def train_steps(pipeline: StableDiffusionPipeline, schedule: Schedule, folder: Path) -> None:
        on_checkpoint = partial(write_sheet, pipeline, folder)
        train_denoiser(
            pipeline, encoded, data.captions, shares, schedule, folder, on_checkpoint, batch_size
        )

    train_steps(pipeline, _paced(arguments, schedule, pipeline, train_steps, folder), folder)
    if is_first_process():
        pipeline.save_pretrained(folder / "trained")


def decoder(arguments: argparse.Namespace) -> None:
    """Train the autoencoder's decoder further, the latents staying as they are, and save it."""
    data = renders(arguments)
    if arguments.start:
        pipeline, encoded = _exported_pipeline(arguments, data)
        autoencoder = pipeline.vae
    else:
        autoencoder, encoded = _normalised(arguments, data)
    schedule = _schedule(arguments, Schedule(DECODER_STEPS, learning_rate=6e-4))
    folder = arguments.work / "decoder"
    train_decoder(autoencoder, data.images, encoded, schedule, folder)
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


def _schedule(arguments: argparse.Namespace, plain: Schedule) -> Schedule:
    return replace(
        plain,
        num_steps=arguments.steps or plain.num_steps,
        learning_rate=arguments.learning_rate or plain.learning_rate,
    )


def _paced(
    arguments: argparse.Namespace,
    schedule: Schedule,
    model: Model,
    train_steps: Callable[[Model, Schedule, Path], None],
    folder: Path,
) -> Schedule:
    """Fit a schedule into the minutes asked for, if any, by trying a few steps on copies."""
    if not arguments.minutes:
        return schedule

    def try_steps(number: int, trial: Path) -> None:
        train_steps(copy.deepcopy(model), replace(schedule, num_steps=number), trial)

    num_steps = steps_within(arguments.minutes, try_steps, folder / "pace.json")
    return replace(schedule, num_steps=num_steps)


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
    "latents": latents,
    "denoiser": denoiser,
    "decoder": decoder,
    "export": export,
}
