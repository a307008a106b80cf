"""What is exported: the items of a dataset, the split of each, and their instances."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diffumask.augment.pairs import class_ids
from diffumask.augment.source import Source, open_source
from diffumask.errors import InputError
from diffumask.records import Record, item_paths, record_name
from diffumask.types import ClassMap, Image, Mask

TRAIN, VAL = SPLITS = ("train", "val")
DIGEST_BYTES = 8
CONNECTIVITY = 8  # as contours have it


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it was read; `image_file` is the PNG that `image` came from."""

    name: str
    split: str
    record: Record
    image_file: Path
    image: Image
    class_map: ClassMap


@dataclass(frozen=True, slots=True)
class Selection:
    """The items to export: positions in a source, by split, in the order of names.

    `advance` is called with 1 after each item that was taken.
    """

    source: Source
    positions: Mapping[str, tuple[int, ...]]
    advance: Callable[[int], None] = lambda count: None

    def __len__(self) -> int:
        return sum(len(of_split) for of_split in self.positions.values())

    @property
    def class_ids(self) -> dict[str, int]:
        """The class ids by name, in the order of ids."""
        return dict(sorted(self.source.run["classes"].items(), key=lambda entry: entry[1]))

    def records(self) -> list[Record]:
        """Return the records of all items."""
        return [self.source.records[at] for split in SPLITS for at in self.positions[split]]

    def items(self, split: str | None = None) -> Iterator[Item]:
        """Read the items, all or those of a split. Raises InputError for a bad one."""
        for one in SPLITS if split is None else (split,):
            for position in self.positions[one]:
                yield self._read(position, one)
                self.advance(1)

    def _read(self, position: int, split: str) -> Item:
        record = self.source.records[position]
        name = record_name(record)
        pair = self.source.decode(position)
        image_file = self.source.folder / item_paths(name)["file_name"]
        return Item(name, split, record, image_file, pair.image, pair.class_map)


def select(folder: Path, train_share: float, with_dropped: bool = False) -> Selection:
    """Choose the items of a dataset, without those that `diffumask filter` dropped.

    Raises InputError for a folder that is no dataset, nothing to export, and a share outside
    of [0, 1].
    """
    if not 0 <= train_share <= 1:
        raise InputError(f"expected a split in [0, 1], the share of train, got {train_share}")
    source = open_source(folder, with_dropped)
    positions: dict[str, list[int]] = {split: [] for split in SPLITS}
    for position, record in enumerate(source.records):
        positions[split_of(record_name(record), train_share)].append(position)
    return Selection(source, {split: tuple(of_split) for split, of_split in positions.items()})


def split_of(name: str, train_share: float) -> str:
    """Decide the split of an item by its name alone, so that items added later change no other."""
    digest = hashlib.blake2b(name.encode(), digest_size=DIGEST_BYTES).digest()
    return TRAIN if int.from_bytes(digest, "big") < train_share * 2 ** (8 * DIGEST_BYTES) else VAL


def masks_of(class_map: ClassMap, instances: bool) -> Iterator[tuple[int, Mask]]:
    """Yield the mask of each class, or of each of its 8-connected components, with the class id.

    Pixels of 255 are in none of them.
    """
    for class_id in class_ids(class_map):
        mask = class_map == class_id
        if not instances:
            yield class_id, mask
            continue
        n_labels, labels = cv2.connectedComponents(mask.astype(np.uint8), None, CONNECTIVITY)
        for label in range(1, n_labels):
            yield class_id, labels == label
