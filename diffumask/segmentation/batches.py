"""Batches of labelled images, which follow from the seed and their number alone."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from diffumask.dataset.pair import FILL_COLOUR, Pair, SizeHW, resized
from diffumask.labelled.labels import Labels
from diffumask.types import IGNORE_ID

from .fit_settings import FitSettings

Batch = tuple[Tensor, Tensor]


@runtime_checkable
class Pairs(Protocol):
    """Labelled images by position; of differing sizes if they like."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Pair: ...


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


def _varied(
    pair: Pair, settings: FitSettings, size_hw: SizeHW, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Scale, flip and crop a pair; what lies outside of it is 255."""
    height, width = pair.class_map.shape
    low, high = np.log(settings.scale)
    factor = min(size_hw) / min(height, width) * np.exp(rng.uniform(low, high))
    scaled_hw = max(1, round(height * factor)), max(1, round(width * factor))
    scaled = resized(pair, scaled_hw)
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


class Ahead:
    """Call `make` for a number and, in threads, for the numbers that follow it."""

    def __init__(self, make: Callable[[int], Batch], end: int, num_workers: int) -> None:
        self._make = make
        self._end = end
        self._num_workers = num_workers
        self._pool = ThreadPoolExecutor(max(num_workers, 1))
        self._ahead: dict[int, Future[Batch]] = {}

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, number: int) -> Batch:
        if not self._num_workers:
            return self._make(number)
        for ahead in range(number, min(number + 2 * self._num_workers, self._end)):
            if ahead not in self._ahead:
                self._ahead[ahead] = self._pool.submit(self._make, ahead)
        return self._ahead.pop(number).result()
