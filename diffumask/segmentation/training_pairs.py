"""What a network is trained on: folders read as one, kept in memory, augmented if asked for."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from diffumask.augment.compose import AugmentSettings, augment_item
from diffumask.dataset.listing import whole_records
from diffumask.dataset.pair import Pair, labels_of
from diffumask.errors import InputError
from diffumask.labelled.folder import AUTO, Labelled, open_labelled
from diffumask.labelled.labels import Labels
from diffumask.labelled.layouts import NATIVE
from diffumask.labelled.mapping import ClassSelection
from diffumask.types import BACKGROUND_ID, IGNORE_ID

if TYPE_CHECKING:  # torch takes seconds to import
    from .batches import Pairs

KEPT_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Where:
    """A folder of labelled images, its layout, and one of its splits or all.

    With `masks` the folder has images alone, of whatever structure.
    """

    folder: Path
    layout: str = AUTO
    split: str | None = None
    masks: Path | None = None


def open_sources(
    places: Sequence[Where], selection: ClassSelection, with_dropped: bool = False
) -> list[Labelled]:
    """Open folders whose class ids are those of the first, unless the selection names classes.

    Items that `diffumask filter` dropped are left out. Raises InputError as `open_labelled`, and
    for a folder in which nothing is left.
    """
    opened: list[Labelled] = []
    for place in places:
        found = open_labelled(place.folder, place.layout, place.split, selection, place.masks)
        opened.append(found if with_dropped else _without_dropped(found))
        if selection.classes is None and _has_names(found):
            selection = replace(selection, classes=found.mapping.classes)
    return opened


def make_labels(opened: Sequence[Labelled], samples: Sequence[np.ndarray]) -> Labels:
    """Return the labels that folders need; where classes have no names, of those that occur.

    `samples` lists the values that occur, as `InMemory.values` does.
    """
    has_background = any(one.mapping.has_background for one in opened)
    ids = opened[0].mapping.classes.ids
    if not _has_names(opened[0]):
        there = {int(value) for values in samples for value in values}
        ids = {name: i for name, i in ids.items() if i in there - {BACKGROUND_ID, IGNORE_ID}}
        if not ids:
            raise InputError(
                f"expected a class in the masks of {opened[0].folder}, got none: masks in black "
                "and white (0 and 255) hold no ids; map 255 to a class id"
            )
    return Labels(ids, has_background)


def _has_names(labelled: Labelled) -> bool:
    return any(name != str(i) for name, i in labelled.mapping.classes.ids.items())


def _without_dropped(labelled: Labelled) -> Labelled:
    if labelled.layout != NATIVE:
        return labelled
    dropped = {one.name for one in whole_records(labelled.folder) if one.is_dropped}
    pairs = tuple(pair for pair in labelled.pairs if pair.name not in dropped)
    if not pairs:
        raise InputError(f"expected items to train on in {labelled.folder}, got none but dropped")
    return replace(labelled, pairs=pairs)


class InMemory:
    """The images of several folders, one after the other; each is read from its file once.

    Those that fit into `KEPT_BYTES` are kept, all others read again.
    """

    def __init__(self, opened: Sequence[Labelled]) -> None:
        self._opened = opened
        self._ends = list(accumulate(len(one) for one in opened))
        self._kept: dict[int, Pair] = {}
        self._free_bytes = KEPT_BYTES

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Pair:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        if index in self._kept:
            return self._kept[index]
        which = int(np.searchsorted(self._ends, index, side="right"))
        pair = self._opened[which][index - self._ends[which]]
        n_bytes = pair.image.nbytes + pair.class_map.nbytes
        if n_bytes <= self._free_bytes:
            self._free_bytes -= n_bytes
            self._kept[index] = pair
        return pair

    def values(self) -> list[np.ndarray]:
        """Read every image and mask, and list the values of each mask.

        Raises InputError for the first that is bad, before anything is made of the others.
        """
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._values_at, range(len(self))))

    def _values_at(self, index: int) -> np.ndarray:
        return np.array(labels_of(self[index].class_map))

    def digest(self) -> str:
        """Hash the names of the images, on whose order every batch depends."""
        from diffumask.training.folder import digest  # it loads torch

        return digest(pair.name for one in self._opened for pair in one.pairs)


@dataclass(frozen=True, slots=True)
class AugmentedPairs:
    """An augmented dataset of `length` items that `augment_item` makes from pairs."""

    pairs: "Pairs"
    settings: AugmentSettings
    seed: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        count = len(self.pairs)
        return augment_item(index, self.pairs.__getitem__, count, self.settings, self.seed).pair


def selection_of(
    opened: Labelled,
    labels: Labels,
    ignored: Collection[int] = (),
    mapped: Mapping[int, int] = MappingProxyType({}),
) -> ClassSelection:
    """Return the selection for the classes of a training, with the further names they go by."""
    classes = replace(opened.mapping.classes, ids=dict(labels.ids))
    without_background = BACKGROUND_ID not in labels.class_ids
    return ClassSelection(classes, (), ignored, without_background, mapped)
