"""Masks that people corrected, written as a dataset with the images and records of the old one."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.encode import make_record
from diffumask.dataset.listing import has_maps
from diffumask.dataset.maps import maps_path
from diffumask.dataset.names import item_paths
from diffumask.dataset.record import ABSENT
from diffumask.dataset.writer import Store
from diffumask.errors import InputError
from diffumask.files.inside import read_inside
from diffumask.labelled.pixels import size_hw
from diffumask.types import (
    BACKGROUND,
    BACKGROUND_ID,
    IGNORE,
    IGNORE_ID,
    ClassIds,
    ClassMap,
    Example,
    Mask,
    name_key,
)

BATCH_SIZE = 100  # items that are taken over at a time
LISTED = 5  # items in a note
MASK_SOURCE, CORRECTED = "mask_source", "corrected"
PREFIXED = re.compile(r".*[-_]([A-Z0-9][A-Za-z0-9]*_[0-9]{6,})")  # as Label Studio names uploads
SUFFIXED = re.compile(r"(.+)_[A-Za-z]+\.rf\.[0-9A-Za-z]+")  # as Roboflow does: NAME_png.rf.HASH


@dataclass(frozen=True, slots=True)
class Region:
    """What a person drew on an image; `mask` is None for what has none, such as a box."""

    label: object
    mask: Mask | None
    kind: str


class Originals:
    """The items that corrections are for: their names, sizes and labels.

    `left_out` counts the regions that were read and have no mask, by their kind. `kept` lists the
    items that have such regions alone, so that their mask stays, and `emptied` those that had a
    mask and are all background now.
    """

    def __init__(self, source: Dataset) -> None:
        self.source = source
        self.left_out: Counter[str] = Counter()
        self.kept: list[str] = []
        self.emptied: list[str] = []
        self.positions = {one.name: at for at, one in enumerate(source.records)}
        self.class_ids = dict(source.run.classes)
        self._classes = ClassIds(self.class_ids)

    def item_of(self, file_name: object) -> str:
        """Return the item a file is named after. Raises InputError for another name."""
        stem = PurePosixPath(str(file_name).replace("\\", "/")).stem
        suffixed = SUFFIXED.fullmatch(stem)
        stem = suffixed[1] if suffixed else stem
        match = PREFIXED.fullmatch(stem)
        for name in (stem, match[1] if match else ""):
            if name in self.positions:
                return name
        raise InputError(
            f"expected files named after items of {self.source.folder}, such as "
            f"{min(self.positions)}, got {file_name!r}; take it out"
        )

    def size_hw(self, name: str) -> tuple[int, int]:
        """Return the size of an item from the head of its image."""
        return size_hw(self.source.folder / item_paths(name)["file_name"])

    def check_size(self, name: str, size_hw: tuple[int, int]) -> None:
        """Raise InputError for what was drawn on an image of another size than the item's."""
        height, width = self.size_hw(name)
        if tuple(size_hw) != (height, width):
            raise InputError(
                f"expected what is drawn on {name} at {height}x{width} pixels (height x width) as "
                f"its image, got {size_hw[0]}x{size_hw[1]}; export it without resizing"
            )

    def knows_ignore(self, labels: Iterable[str]) -> bool:
        """Tell whether the labels of a tool have one for 255, so that none means there is none."""
        return IGNORE_ID in map(self.value_of, labels)

    def draw(self, name: str, regions: Iterable[Region], knows_ignore: bool) -> ClassMap | None:
        """Draw regions one over the other; None where they all have no mask.

        Where the tool has no label for 255, what was 255 stays so unless a region covers it.
        Raises InputError for an unknown label.
        """
        class_map = np.full(self.size_hw(name), BACKGROUND_ID, np.uint8)
        if not knows_ignore:
            class_map[self.source.read(self.positions[name]).class_map == IGNORE_ID] = IGNORE_ID
        are_masks: set[bool] = set()
        for region in regions:
            are_masks.add(region.mask is not None)
            if region.mask is None:
                self.left_out[region.kind] += 1
            else:
                class_map[region.mask] = self.known_value(region.label)
        if are_masks == {False}:
            self.kept.append(name)
            return None
        return class_map

    def notes(self) -> list[str]:
        """Say what was left out, which items keep their mask for it, and which lost theirs."""
        lines = []
        if self.left_out:
            lines.append(f"left out, being no masks: {self.left_out_text()}")
        if self.kept:
            lines.append(f"{len(self.kept)} with nothing else keep their mask: {_few(self.kept)}")
        if self.emptied:
            lines.append(f"{len(self.emptied)} are all background now: {_few(self.emptied)}")
        return lines

    def left_out_text(self) -> str:
        """Count the regions that have no mask."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.left_out.items()))

    def value_of(self, label: str) -> int | None:
        """Return the class id, 0 or 255 that a label stands for, if it is known."""
        special = {BACKGROUND: BACKGROUND_ID, IGNORE: IGNORE_ID}
        found = self._classes.find(label)
        return special.get(name_key(label)) if found is None else self.class_ids[found]

    def known_value(self, label: object) -> int:
        """Return what a label stands for. Raises InputError for an unknown one."""
        value = self.value_of(str(label))
        if value is None:
            raise InputError(
                f"expected the labels {', '.join(self.class_ids)}, {BACKGROUND} or {IGNORE}, got "
                f"{label!r}; rename it"
            )
        return value


def correct(
    originals: Originals, corrections: Iterable[tuple[str, ClassMap]], store: Store
) -> Iterator[str]:
    """Write the corrected items, then all others as they were, and yield the name of each.

    Corrected ones have `mask_source` "corrected" in their record. Raises InputError for two masks
    of one item, labels that the dataset does not have, and when nothing is corrected.
    """
    for name, class_map in corrections:
        if name in store.records:
            raise InputError(f"expected one mask for each item, got two for {name}; drop one")
        _check_labels(originals, name, class_map)
        _write(originals, name, class_map, store)
        yield name
    if not store.records:
        got = originals.left_out_text() or "none"
        raise InputError(f"expected masks of at least one item, got {got}; export them again")
    source = originals.source
    others = [one for one in source.records if one.name not in store.records]
    for start in range(0, len(others), BATCH_SIZE):
        batch = others[start : start + BATCH_SIZE]
        store.adopt(source.folder, batch)
        yield from (one.name for one in batch)


def _check_labels(originals: Originals, name: str, class_map: ClassMap) -> None:
    known = {BACKGROUND_ID, IGNORE_ID, *originals.class_ids.values()}
    unknown = sorted(set(map(int, np.unique(class_map))) - known)
    if unknown:
        raise InputError(
            f"expected labels {', '.join(map(str, sorted(known)))} in the mask of {name}, got "
            f"{unknown[0]}; mend the mask"
        )


def _write(originals: Originals, name: str, class_map: ClassMap, store: Store) -> None:
    source, position = originals.source, originals.positions[name]
    record, old = source.records[position], source.decode(position)
    example = Example(
        record.prompt,
        record.seed,
        old.image,
        class_map,
        record.scores,
    )
    own = make_record(name, example, {}).fields
    anew = {*own, ABSENT}
    facts: dict[str, Any] = {key: value for key, value in record.fields.items() if key not in anew}
    drawn = [name for name, class_id in originals.class_ids.items() if class_id in class_map]
    absent = {name: reason for name, reason in record.absent.items() if name not in drawn}
    shown = _objects(class_map)
    if not shown.any() and _objects(old.class_map).any():
        originals.emptied.append(name)
    facts |= {"foreground": round(float(shown.mean()), 6), MASK_SOURCE: CORRECTED}
    facts |= {ABSENT: absent} if absent else {}
    has = has_maps(source.folder, record)
    kept = read_inside(source.folder, maps_path(name)) if has else None
    store.write(name, example, facts, kept)


def _objects(class_map: ClassMap) -> Mask:
    return (class_map != BACKGROUND_ID) & (class_map != IGNORE_ID)


def _few(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + ", ..." * (len(names) > LISTED)
