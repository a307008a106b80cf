"""The dataset folder that items are made from, read item by item and checked."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.errors import InputError
from diffumask.files.pictures import PNG, opened
from diffumask.types import BACKGROUND_ID, IGNORE_ID, Prompt

from .listing import whole_records
from .names import item_paths
from .pair import Pair, labels_of
from .record import Record
from .run import Run, read_run

CACHE_BYTES = 256 * 2**20


class Source:
    """The items of a dataset in the order of their names.

    Items that were read are kept, 256 MiB of them at most; their arrays are read-only. The
    object can be sent to other processes, which read for themselves.
    """

    def __init__(self, folder: Path, run: Run, records: Sequence[Record]) -> None:
        self.folder = folder
        self.run = run
        self.records = sorted(records, key=lambda record: record.name)
        self._labels = {BACKGROUND_ID, IGNORE_ID, *run.classes.values()}
        self._first = self.decode(0)
        pair_bytes = self._first.image.nbytes + self._first.class_map.nbytes
        self._cached = lru_cache(max(1, CACHE_BYTES // pair_bytes))(self.decode)

    def __reduce__(self) -> tuple[Any, ...]:
        return Source, (self.folder, self.run, self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Size of the first item."""
        return self._first.size_hw

    def digest(self) -> str:
        """Hash the names of the items, on whose order every augmented item depends."""
        names = "\n".join(record.name for record in self.records)
        return hashlib.blake2b(names.encode(), digest_size=8).hexdigest()

    def read(self, position: int) -> Pair:
        """Read an item.

        Raises InputError for a file that is no PNG or torn, an image that is not RGB, a mask that
        is not one of 8-bit indices or has another size than the image, and unknown labels.
        """
        return self._cached(position)

    def prompt(self, position: int) -> Prompt:
        """Return the prompt of an item."""
        return self.records[position].prompt

    def check(self) -> None:
        """Read every item once, so that a bad one is refused before anything is made from it."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.decode, range(len(self))))

    def decode(self, position: int) -> Pair:
        """Read an item from its files, kept or not; raises as `read`."""
        image_file, mask_file = (
            self.folder / path for path in item_paths(self.records[position].name).values()
        )
        image, class_map = _pixels(image_file), _pixels(mask_file)
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise InputError(f"expected an RGB image in {image_file}, got {_kind(image)}; mend it")
        if class_map.dtype != np.uint8 or class_map.shape != image.shape[:2]:
            raise InputError(
                f"expected in {mask_file} one 8-bit label a pixel of the image, "
                f"{_kind(image)}, got {_kind(class_map)}; mend the mask"
            )
        unknown = sorted(set(labels_of(class_map)) - self._labels)
        if unknown:
            raise InputError(
                f"expected labels {', '.join(map(str, sorted(self._labels)))} in {mask_file}, got "
                f"{unknown[0]}; mend the mask"
            )
        for array in (image, class_map):
            array.flags.writeable = False
        return Pair(image, class_map)


def open_source(folder: Path, with_dropped: bool = False) -> Source:
    """Open a dataset folder and read its first item; nothing is written.

    Items that `diffumask filter` dropped are left out, unless asked for. Raises InputError for a
    folder that is no dataset, has no item, or has a bad first item.
    """
    run = read_run(folder)
    found = whole_records(folder)
    if not found:
        raise InputError(f"expected items in {folder}, got none; generate some first")
    records = [record for record in found if with_dropped or not record.is_dropped]
    if not records:
        raise InputError(
            f"expected items in {folder} that are not dropped, got none; filter it less strictly"
        )
    return Source(folder, run, records)


def _pixels(path: Path) -> np.ndarray:
    """Read a file as it is: what it has to be is yet to be checked."""
    with opened(path, PNG, "mend it") as picture:
        return np.array(picture)


def _kind(array: np.ndarray) -> str:
    return f"{' x '.join(map(str, array.shape))} of {array.dtype}"
