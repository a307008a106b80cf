"""What is exported: the items of a dataset, the ids and the split of each, and their instances."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.names import item_paths
from diffumask.dataset.pair import Pair, class_ids
from diffumask.dataset.record import Record
from diffumask.errors import InputError
from diffumask.types import IGNORE_ID, ClassMap, Mask

TRAIN, VAL = SPLITS = ("train", "val")
DIGEST_BYTES = 8
SEEDS = 2**64
CONNECTIVITY = 8  # as contours have it


@dataclass(frozen=True, slots=True)
class ExportItem:
    """An item in its split, with the ids it is exported with; `image_file` has its image as PNG."""

    split: str
    record: Record
    image_file: Path
    pair: Pair

    @property
    def name(self) -> str:
        """The name of the item."""
        return self.record.name


@dataclass(frozen=True, slots=True)
class Selection:
    """The items to export: positions in a source, by split, in the order of names.

    `new_ids` are those that class ids become in masks and records; other values stay as they are.
    `advance` is called with 1 after each item that was taken.
    """

    source: Dataset
    positions: Mapping[str, tuple[int, ...]]
    new_ids: Mapping[int, int] = field(default_factory=dict)
    advance: Callable[[int], None] = lambda count: None

    def __len__(self) -> int:
        return sum(len(of_split) for of_split in self.positions.values())

    @property
    def class_ids(self) -> dict[str, int]:
        """The class ids by name, in the order of ids."""
        old = sorted(self.source.run.classes.items(), key=lambda entry: entry[1])
        return {name: self._new_id(class_id) for name, class_id in old}

    def records(self) -> list[Record]:
        """Return the records of all items."""
        return [self.source.records[at] for split in SPLITS for at in self.positions[split]]

    def items(self, split: str | None = None) -> Iterator[ExportItem]:
        """Read the items, all or those of a split. Raises InputError for a bad one."""
        for one in SPLITS if split is None else (split,):
            for position in self.positions[one]:
                yield self._read(position, one)
                self.advance(1)

    def _read(self, position: int, split: str) -> ExportItem:
        record = self.source.records[position]
        pair = self.source.decode(position)
        image_file = self.source.folder / item_paths(record.name)["file_name"]
        if self.new_ids:
            table = np.array([self._new_id(value) for value in range(IGNORE_ID + 1)], np.uint8)
            pair = Pair(pair.image, cv2.LUT(pair.class_map, table))
            record = self._renumbered(record)
        return ExportItem(split, record, image_file, pair)

    def _renumbered(self, record: Record) -> Record:
        first, *_ = targets = [
            {"word": one.word, "class": one.class_name, "class_id": self._new_id(one.class_id)}
            for one in record.prompt.targets
        ]
        return record.changed({"class_id": first["class_id"], "targets": targets})

    def _new_id(self, class_id: int) -> int:
        return self.new_ids.get(class_id, class_id)


def select(
    folder: Path,
    train_share: float,
    with_dropped: bool = False,
    *,
    contiguous: bool = False,
    seed: int = 0,
    stratified: bool = False,
) -> Selection:
    """Choose the items of a dataset, without those that `diffumask filter` dropped.

    With `contiguous` ids the classes are 1, 2, 3 ... in the order of their own ids; another
    `seed` makes another split, and a `stratified` one is that of `stratified_splits`. Raises
    InputError for a folder that is no dataset, nothing to export, a share outside of [0, 1] and
    a seed outside of [0, 2**64).
    """
    if not 0 <= train_share <= 1:
        raise InputError(f"expected a split in [0, 1], the share of train, got {train_share}")
    if not 0 <= seed < SEEDS:
        raise InputError(f"expected a split seed in 0..{SEEDS - 1}, got {seed}")
    source = Dataset.open(folder, with_dropped).require_items()
    names = [record.name for record in source.records]
    splits = [split_of(name, train_share, seed) for name in names]
    if stratified and train_share not in (0, 1):
        classes = [record.class_name for record in source.records]
        splits = stratified_splits(names, classes, train_share, seed)
    positions = {
        split: tuple(at for at, one in enumerate(splits) if one == split) for split in SPLITS
    }
    old_ids = sorted(source.run.classes.values()) if contiguous else []
    new_ids = {class_id: new for new, class_id in enumerate(old_ids, 1)}
    return Selection(source, positions, new_ids)


def split_of(name: str, train_share: float, seed: int = 0) -> str:
    """Decide the split of an item by its name alone, so that items added later change no other."""
    return TRAIN if _digest(name, seed) < train_share * 2 ** (8 * DIGEST_BYTES) else VAL


def stratified_splits(
    names: Sequence[str], classes: Sequence[str], train_share: float, seed: int = 0
) -> list[str]:
    """Decide the splits of items so that each class has the share as nearly as can be.

    A class of two items or more has one in each split. Which ones those are hangs on all items of
    the class.
    """
    by_class: dict[str, list[str]] = {}
    for name, class_name in zip(names, classes, strict=True):
        by_class.setdefault(class_name, []).append(name)
    trained: set[str] = set()
    for of_class in by_class.values():
        if len(of_class) == 1:
            trained |= {name for name in of_class if split_of(name, train_share, seed) == TRAIN}
        else:
            n_train = min(max(round(train_share * len(of_class)), 1), len(of_class) - 1)
            trained |= set(sorted(of_class, key=lambda name: _digest(name, seed))[:n_train])
    return [TRAIN if name in trained else VAL for name in names]


def _digest(name: str, seed: int) -> int:
    salt = seed.to_bytes(hashlib.blake2b.SALT_SIZE, "big")
    digest = hashlib.blake2b(name.encode(), digest_size=DIGEST_BYTES, salt=salt).digest()
    return int.from_bytes(digest, "big")


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
