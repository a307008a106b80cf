"""What trains the denoisers of `tiny`, of either kind, from latents and captions only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor, nn
from transformers import CLIPTokenizer

from diffumask.scenes import load_catalog
from diffumask.training import Schedule, shared, train
from diffumask.types import OnStep, unseen_step

CAPTION_DROPOUT = 0.1  # teaches the unconditional half of guidance
SHEET_PROMPTS = (
    "a photo of a duck bird on grass",
    "a photo of a bird on water",
    "a photo of a taxi car on a road",
    "a picture of a dog on snow",
    "a sailing boat on water",
    "a photo of a fern potted plant on a wood floor",
    "a photo of a person by a brick wall",
    "a photo of a cat and a soccer ball on a carpet",
)
SHEET_STEPS, SHEET_GUIDANCE = 20, 4.0


@dataclass(frozen=True, slots=True)
class Captioned:
    """Latents with captions; `shares` say how often each is drawn, relative to the others."""

    latents: Float16[np.ndarray, "n c h w"]
    captions: Sequence[str]
    shares: Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of denoiser has of its own.

    `network_of` makes a network of a pipeline that returns its loss, so that several processes can
    share a step, of clean latents, noise, timesteps that `draw_timesteps` gives, and token ids.
    `call_options` are what the pipeline's call takes beside the options of all.
    """

    network_of: Callable[[Any], nn.Module]
    draw_timesteps: Callable[[int, torch.Generator], Tensor]
    call_options: Mapping[str, Any]


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Int[Tensor, "n t"]:
    """Return padded token ids as the pipeline makes them."""
    return tokenizer(
        list(captions), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids


def train_denoiser(
    pipeline: Any,
    kind: Kind,
    data: Captioned,
    schedule: Schedule,
    folder: Path,
    on_checkpoint: Callable[[int], None] = lambda step: None,
    on_step: OnStep = unseen_step,
    batch_size: int = 32,
    seed: int = 0,
) -> None:
    """Train what requires gradients of a pipeline's denoiser in place; see `train` for resuming.

    `batch_size` is that of each process.
    """
    network = kind.network_of(pipeline)
    device = next(network.parameters()).device
    token_ids = tokenize(pipeline.tokenizer, data.captions)
    empty = tokenize(pipeline.tokenizer, [""])
    weights = torch.from_numpy(data.shares)
    loss_of, rank, num_ranks = shared(network, device)

    def loss_at(step: int) -> Float[Tensor, ""]:
        part = step * num_ranks + rank
        generator = torch.Generator().manual_seed(seed * 1_000_003 + part)
        chosen = torch.multinomial(weights, batch_size, generator=generator)
        ids = token_ids[chosen]
        dropped = torch.rand(batch_size, 1, generator=generator) < CAPTION_DROPOUT
        ids = torch.where(dropped, empty, ids).to(device)
        timesteps = kind.draw_timesteps(batch_size, generator).to(device)
        clean = torch.from_numpy(data.latents[chosen.numpy()]).to(device).float()
        on_device = torch.Generator(device).manual_seed(seed * 1_000_003 + part)
        noise = torch.randn(clean.shape, generator=on_device, device=device)
        return loss_of(clean, noise, timesteps, ids)

    train(network, loss_at, schedule, folder, on_checkpoint, on_step)


def draw_noise_shares(
    count: int, generator: torch.Generator, logit_mean: float, uniform_share: float
) -> Float[Tensor, " n"]:
    """Draw how noisy latents are, in [0, 1], most of them in the middle, where shapes are decided.

    A mixture of a logit-normal distribution (Esser et al. 2024, section 3.1) and a uniform one,
    which keeps both ends of the schedule trained.
    """
    shares = torch.sigmoid(logit_mean + torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    from_uniform = torch.rand(count, generator=generator) < uniform_share
    return torch.where(from_uniform, uniform, shares)


def even_shares(class_names: Sequence[Sequence[str]]) -> Float[np.ndarray, " n"]:
    """Return how often to draw each render, by the classes on it, so that the hard ones keep up.

    Renders show all classes alike, so that each of the many sub-classes of one is rare. A class
    counts by the root of their number, half way between equal classes and equal sub-classes, times
    the effort that the catalogue states for it.
    """
    classes = load_catalog().classes
    weights = {
        name: entry.effort * len(entry.sub_classes("train")) ** 0.5
        for name, entry in classes.items()
    }
    return np.array([np.mean([weights[name] for name in names]) for names in class_names])


def write_sheet(pipeline: Any, kind: Kind, folder: Path, step: int) -> None:
    """Sample the sheet's prompts side by side into one picture of the folder."""
    folder.mkdir(parents=True, exist_ok=True)  # before the first line of the log
    pipeline.set_progress_bar_config(disable=True)
    output: Any = pipeline(
        list(SHEET_PROMPTS),
        num_inference_steps=SHEET_STEPS,
        guidance_scale=SHEET_GUIDANCE,
        generator=[torch.Generator().manual_seed(index) for index in range(len(SHEET_PROMPTS))],
        output_type="np",
        **kind.call_options,
    )
    sheet = (np.hstack(list(output.images)) * 255).astype(np.uint8)
    cv2.imwrite(str(folder / f"sheet_{step:06d}.png"), sheet[..., ::-1])
