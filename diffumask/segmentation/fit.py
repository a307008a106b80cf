"""Training of a network on labelled images; every batch follows from the seed and the step."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from diffumask.dataset.pair import FILL_COLOUR, Pair, SizeHW, resized
from diffumask.errors import InputError
from diffumask.labelled.labels import Labels
from diffumask.models.precision import computes_in
from diffumask.training import Schedule, shared, train
from diffumask.types import IGNORE_ID, ClassMap, Image

from .networks import Network

PRECISIONS = ("auto", "float32", "bfloat16")
Batch = tuple[Tensor, Tensor]


@runtime_checkable
class LabelledPair(Protocol):
    """An image and the class id of each pixel."""

    @property
    def image(self) -> Image: ...
    @property
    def class_map(self) -> ClassMap: ...


@runtime_checkable
class Pairs(Protocol):
    """Labelled images by position; of differing sizes if they like."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> LabelledPair: ...


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to train.

    A step sees `batch_size` x `gradient_accumulation_steps` images on each device. Images are
    resized so that their shorter side is that of `size_hw` (None: the size of the first image)
    times a number from `scale`, drawn evenly in its logarithm, and cropped at random, or filled
    up with 255, to `size_hw`. `precision` "auto" is bfloat16 where the device is fast in
    it; where it lacks the kernels all is computed in float32.
    `num_workers` threads prepare the batches to come.
    """

    num_steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    gradient_accumulation_steps: int = 1
    precision: str = "auto"
    size_hw: SizeHW | None = None
    flip: bool = True
    scale: tuple[float, float] = (0.75, 1.33)
    seed: int = 0
    checkpoint_every: int = 500
    num_workers: int = 0

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "gradient_accumulation_steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"expected a learning rate above 0, got {self.learning_rate}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"expected a scale of two rising numbers above 0, got {self.scale}")
        if self.precision not in PRECISIONS:
            raise InputError(f"expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.size_hw and min(self.size_hw) < 32:
            raise InputError(f"expected a size of 32x32 pixels or more, got {self.size_hw}")
        for name in ("num_workers", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"expected {name} of 0 or more, got {getattr(self, name)}")


def fit(
    network: Network,
    pairs: Pairs,
    settings: FitSettings,
    folder: Path | None = None,
    on_step: Callable[[int], None] = lambda step: None,
    on_checkpoint: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a network on pairs; leave the averaged weights, in evaluation mode.

    Every image comes once before any comes again. With a folder the training goes on from where
    it stopped there, and the result is the same, on the same CPU exactly. `on_checkpoint` sees
    the averaged weights. Under `accelerate launch` all processes share the work and the first
    one writes. Raises InputError without pairs, for class ids that the labels lack, and when the
    loss is not finite.
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
    with _Ahead(batch_at, num_parts, settings.num_workers) as ahead:

        def loss_at(part: int) -> Float[Tensor, ""]:
            pixels, labels = (one.to(network.device) for one in ahead(part))
            with (
                torch.random.fork_rng(devices),
                torch.autocast(network.device.type, dtype, enabled=dtype != torch.float32),
            ):
                torch.manual_seed(_seed(settings.seed, 1, part * num_ranks + rank))
                return _loss(together, pixels, labels)

        train(
            network, loss_at, _schedule(settings), folder, on_checkpoint, on_step, writes=rank == 0
        )


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
    )


def make_batch(
    pairs: Pairs, labels: Labels, settings: FitSettings, size_hw: SizeHW, number: int
) -> tuple[Float[Tensor, "b 3 h w"], Int64[Tensor, "b h w"]]:
    """Make batch `number` of an endless supply: pixels in [0, 1], and labels."""
    images, class_maps = [], []
    for position in range(number * settings.batch_size, (number + 1) * settings.batch_size):
        epoch, place = divmod(position, len(pairs))
        pair = pairs[int(_order(settings.seed, epoch, len(pairs))[place])]
        rng = np.random.default_rng((2, settings.seed, position))
        image, class_map = _varied(pair, settings, size_hw, rng)
        images.append(image)
        class_maps.append(labels.encode(class_map))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255
    return pixels, torch.from_numpy(np.stack(class_maps)).long()


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((0, seed, epoch)).permutation(count)


def _seed(seed: int, kind: int, number: int) -> int:
    return int(np.random.default_rng((kind, seed, number)).integers(2**63))


def _varied(
    pair: LabelledPair, settings: FitSettings, size_hw: SizeHW, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Scale, flip and crop a pair; what lies outside of it is 255."""
    height, width = pair.class_map.shape
    low, high = np.log(settings.scale)
    factor = min(size_hw) / min(height, width) * np.exp(rng.uniform(low, high))
    scaled_hw = max(1, round(height * factor)), max(1, round(width * factor))
    scaled = resized(Pair(pair.image, pair.class_map), scaled_hw)
    step = -1 if settings.flip and rng.random() < 0.5 else 1
    image = np.full((*size_hw, 3), FILL_COLOUR, np.uint8)
    class_map = np.full(size_hw, IGNORE_ID, np.uint8)
    top, left = (
        round(rng.random() * (side - wanted))
        for side, wanted in zip(scaled_hw, size_hw, strict=True)
    )
    source = np.s_[max(top, 0) : top + size_hw[0], max(left, 0) : left + size_hw[1]]
    part = scaled.image[source]
    there = np.s_[max(-top, 0) :, max(-left, 0) :]
    place = image[there][: part.shape[0], : part.shape[1]]
    place[:] = part[:, ::step]
    class_map[there][: part.shape[0], : part.shape[1]] = scaled.class_map[source][:, ::step]
    return image, class_map


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


class _Ahead:
    """Call `make` for a number and, in threads, for the numbers that follow it."""

    def __init__(self, make: Callable[[int], Batch], end: int, num_workers: int) -> None:
        self._make = make
        self._end = end
        self._num_workers = num_workers
        self._pool = ThreadPoolExecutor(max(num_workers, 1))
        self._made: dict[int, Future[Batch]] = {}

    def __enter__(self) -> "_Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, number: int) -> Batch:
        if not self._num_workers:
            return self._make(number)
        for one in range(number, min(number + 2 * self._num_workers, self._end)):
            if one not in self._made:
                self._made[one] = self._pool.submit(self._make, one)
        return self._made.pop(number).result()
