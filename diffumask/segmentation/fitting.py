"""Training of a network on labelled images; every batch follows from the seed and the step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffumask.errors import InputError
from diffumask.models.precision import computes_in
from diffumask.training import Schedule, shared, train
from diffumask.types import OnStep, unseen_step

from .batches import Ahead, Batch, Pairs, make_batch
from .fit_settings import FitSettings
from .network import Network

LOG_EVERY = 25
PATIENCE = 4  # means of so many losses: 100 steps


def fit(
    network: Network,
    pairs: Pairs,
    settings: FitSettings,
    folder: Path | None = None,
    on_step: OnStep = unseen_step,
    on_checkpoint: Callable[[int], bool | None] = lambda step: None,
) -> int:
    """Train a network on pairs; leave the averaged weights, in evaluation mode.

    Every image comes once before any comes again. With a folder the training goes on from where
    it stopped there, and the result is the same, on the same CPU exactly. `on_checkpoint` sees
    the averaged weights, and may say that they get no better. Under `accelerate launch` all
    processes share the work and the first one writes. Returns how many steps it took. Raises
    InputError without pairs, for class ids that the labels lack, and when the loss is not finite.
    """
    if len(pairs) == 0:
        raise InputError("expected labelled images to train on, got none")
    if settings.size_hw is None:
        height, width = pairs[0].class_map.shape
        settings = replace(settings, size_hw=(height, width))
    size_hw = settings.size_hw
    assert size_hw is not None
    network.shorter_side_px = min(size_hw)
    together, rank, num_ranks = shared(network, network.device, has_unused=True)
    dtype = _dtype(settings.precision, network.device)
    devices = [network.device] if network.device.type == "cuda" else []

    def batch_at(part: int) -> Batch:
        return make_batch(pairs, network.labels, settings, size_hw, part * num_ranks + rank)

    num_parts = settings.num_steps * settings.gradient_accumulation_steps
    with Ahead(batch_at, num_parts, settings.num_workers) as ahead:

        def loss_at(part: int) -> Float[Tensor, ""]:
            pixels, labels = (one.to(network.device) for one in ahead(part))
            with (
                torch.random.fork_rng(devices),
                torch.autocast(network.device.type, dtype, enabled=dtype != torch.float32),
            ):
                torch.manual_seed(_seed(settings.seed, 1, part * num_ranks + rank))
                return _loss(together, pixels, labels)

        return train(network, loss_at, _schedule(settings), folder, on_checkpoint, on_step)


def _loss(network: nn.Module, pixels: Tensor, labels: Tensor) -> Float[Tensor, ""]:
    """Return the loss of a batch. Raises InputError for one too small to be normalised."""
    try:
        return network(pixels, labels)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # of torch's batch normalisation
            raise
        n, _, height, width = pixels.shape
        raise InputError(
            f"expected more pixels for the batch normalisation of this network, got {n} images of "
            f"{height}x{width}; take a larger batch or size"
        ) from error


def _schedule(settings: FitSettings) -> Schedule:
    return Schedule(
        settings.num_steps,
        settings.learning_rate,
        warmup_steps=max(1, min(100, settings.num_steps // 10)),
        ema_decay=0.99,
        weight_decay=settings.weight_decay,
        checkpoint_every=settings.checkpoint_every,
        accumulation_steps=settings.gradient_accumulation_steps,
        log_every=LOG_EVERY,
        patience=PATIENCE if settings.until_plateau else None,
    )


def _seed(seed: int, kind: int, number: int) -> int:
    return int(np.random.default_rng((kind, seed, number)).integers(2**63))


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    """Choose bfloat16 where a device computes in it fast, or at all if it was asked for."""
    if precision == "float32" or not computes_in(torch.bfloat16, device.type):
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # torch.cpu.get_capabilities tells the same, but not in torch 2.6.
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
