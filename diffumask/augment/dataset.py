"""Augmentation while a network trains: a torch `Dataset` on a dataset folder."""

import cv2
import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from diffumask.dataset.dataset import Dataset
from diffumask.errors import InputError

from .compose import AugmentSettings, augment_item
from .folder import sized


class AugmentedDataset(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented items of a dataset as an image in [0, 1] and its class map.

    Item `index` depends on seed, epoch and index only, whatever worker makes it, and is in epoch 0
    the one that `diffumask augment` writes. Call `set_epoch` before each epoch; it also
    reaches the workers of a DataLoader, persistent ones too. OpenCV has one thread in this process
    from here on: the workers are what runs side by side. Raises InputError as
    `Dataset.require_items`, and for a bad item once it is read.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: AugmentSettings | None = None,
        seed: int = 0,
        length: int | None = None,
    ) -> None:
        # A worker that is forked beside OpenCV's threads can wait for them forever.
        cv2.setNumThreads(1)
        self.source = dataset.require_items()
        self.settings = sized(settings or AugmentSettings(), self.source)
        self.seed = seed
        self.length = len(self.source) if length is None else length
        if self.length < 1:
            raise InputError(f"expected a length of 1 or more, got {length}")
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the items to come."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> tuple[Float32[Tensor, "3 h w"], Int64[Tensor, "h w"]]:
        if not 0 <= index < self.length:
            raise IndexError(f"expected an index below {self.length}, got {index}")
        augmented = augment_item(
            index,
            self.source.read,
            len(self.source),
            self.settings,
            self.seed,
            int(self._epoch),
        )
        image = torch.tensor(augmented.pair.image).permute(2, 0, 1).contiguous().float() / 255
        return image, torch.tensor(augmented.pair.class_map, dtype=torch.int64)
