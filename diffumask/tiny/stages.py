"""The stages of the recipe in order, of `tiny` first: see `STAGES`."""

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

from diffumask.files.atomic import write_file
from diffumask.notices import notices_off
from diffumask.training import Schedule
from diffumask.training.distributed import is_first_process, num_processes
from diffumask.training.state import read_averages

from .autoencoder import new_autoencoder, read_photos, train_autoencoder, train_decoder
from .card import SEEN_FILE
from .denoiser import Captioned, Kind, even_shares, train_denoiser, write_sheet
from .export import export, export_mmdit
from .latents import encode_images, normalise_latents
from .mmdit import MMDIT, new_joint_pipeline
from .pace import printed_rate, steps_within
from .renders import Renders, load_renders
from .text import new_text_encoder, train_tokenizer
from .unet import UNET, new_pipeline

with notices_off():
    from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

VAE_STEPS, VAE_BATCH_SIZE = 10_000, 16  # batches of each process
DENOISER_STEPS, MMDIT_STEPS, DENOISER_BATCH_SIZE = 32_000, 16_000, 32
DECODER_STEPS = 4_000
CHECKPOINT_EVERY = 250  # minutes on a CPU, which may be taken away
MODEL_SEED = 0

AnyPipeline = StableDiffusionPipeline | StableDiffusion3Pipeline
Model = TypeVar("Model", AutoencoderKL, AnyPipeline)


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
    data = renders(arguments)
    torch.manual_seed(MODEL_SEED)
    start = _exported_pipeline if arguments.start else _untrained_pipeline
    pipeline, encoded = start(arguments, data)
    _train_denoiser(arguments, DENOISER_STEPS, pipeline, UNET, data, encoded)


def mmdit(arguments: argparse.Namespace) -> None:
    """Train the transformer of `tiny-mmdit` on the same latents, with the denoiser's text encoder.

    Its pipeline is saved. The text encoder is frozen as it is now, however its training goes on.
    """
    if arguments.start:
        data = renders(arguments)
        source, encoded = _exported_pipeline(arguments, data)
    else:
        averages = read_averages(arguments.work / "denoiser", "text_encoder")
        data = renders(arguments)
        source, encoded = _untrained_pipeline(arguments, data)
        source.text_encoder.load_state_dict(averages)
    torch.manual_seed(MODEL_SEED)
    pipeline = new_joint_pipeline(
        source.vae, source.text_encoder, source.tokenizer, arguments.width, arguments.layers
    )
    _train_denoiser(arguments, MMDIT_STEPS, pipeline, MMDIT, data, encoded)


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


def _train_denoiser(
    arguments: argparse.Namespace,
    num_steps: int,
    pipeline: AnyPipeline,
    kind: Kind,
    data: Renders,
    encoded: Float16[np.ndarray, "n c h w"],
) -> None:
    """Train in the folder that the stage is named after, show sheets, and save the pipeline."""
    folder = arguments.work / arguments.stage
    pipeline.to(arguments.device)
    plain = Schedule(
        num_steps,
        learning_rate=3e-4,  # with twice that the UNet came apart after 6,400 steps
        ema_decay=0.999,
        weight_decay=1e-2,
        checkpoint_every=CHECKPOINT_EVERY,
        diverged_ratio=1.5,
        muon=True,  # the loss of its batches is lower than AdamW's from the first 50 steps on
    )
    schedule = _schedule(arguments, plain)
    captioned = Captioned(encoded, data.captions, even_shares(data.class_names))
    batch_size = arguments.batch_size or DENOISER_BATCH_SIZE
    images_a_step = batch_size * num_processes()

    def train_steps(pipeline: AnyPipeline, schedule: Schedule, folder: Path) -> None:
        sheet, rate = partial(write_sheet, pipeline, kind, folder), printed_rate(images_a_step)
        train_denoiser(pipeline, kind, captioned, schedule, folder, sheet, rate, batch_size)

    schedule = _paced(arguments, schedule, pipeline, train_steps, folder)
    train_steps(pipeline, schedule, folder)
    if is_first_process():
        seen = {"steps": schedule.num_steps, "images": schedule.num_steps * images_a_step}
        write_file(folder / SEEN_FILE, json.dumps(seen).encode())
        pipeline.save_pretrained(folder / "trained")


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
    "mmdit": mmdit,
    "export-mmdit": export_mmdit,
}
