"""The items that a page shows: those of a dataset, whole or broken, beside those of another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import listed_records, scan_records
from diffumask.dataset.names import IMAGE, MASK, file_paths
from diffumask.dataset.record import Record
from diffumask.dataset.run import Run, read_run
from diffumask.errors import InputError
from diffumask.metrics import class_ious, confusion_matrix
from diffumask.types import IGNORE_ID, Example

from .items import broken_item, item_fields, picture_fields, record_fields, scores_of

IOU = "iou"  # of the two masks; a score of items may be called agreement already
THIS, OTHER = "this", "other"
N_IDS = 256


@dataclass(frozen=True, slots=True)
class Listed:
    """An item that a dataset lists; `fault` says what is wrong with its files, "" for nothing."""

    record: Record
    fault: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of the page: of the dataset, of the one beside it, or of both."""

    this: Listed | None
    other: Listed | None


@dataclass(frozen=True, slots=True)
class Source:
    """The dataset that a page shows, and the one that it is compared with, if any."""

    folder: Path
    against: Path | None
    thumbnail_px: int

    def run(self) -> Run:
        """Read what made the dataset, with the classes of both.

        Raises InputError as `read_run`, and for two datasets that number a class differently.
        """
        run = read_run(self.folder)
        others = read_run(self.against).classes if self.against else {}
        for name in run.classes.keys() & others.keys():
            if run.classes[name] != others[name]:
                raise InputError(
                    f"expected datasets that give {name} one id, got {run.classes[name]} in "
                    f"{self.folder} and {others[name]} in {self.against}"
                )
        return Run(run.settings, {**run.classes, **others}, run.runs)

    def entries(self) -> dict[str, Entry]:
        """List the items of both by name. Raises InputError as `listed_records`."""
        these = _listed(self.folder)
        others = _listed(self.against) if self.against else {}
        names = sorted(these.keys() | others.keys())
        return {name: Entry(these.get(name), others.get(name)) for name in names}

    def read(self, entry: Entry, threshold_on: str) -> dict[str, Any]:
        """Read an item for the page; one that proves broken has the reason as `broken`.

        `threshold_on` is that of `item_fields`.
        """
        if entry.this is None:
            assert entry.other is not None  # an entry is of one of them
            return {**self._read_other(entry.other), "only": OTHER}
        if entry.this.fault:
            return broken_item(entry.this.record, entry.this.fault)
        try:
            record, px = entry.this.record, self.thumbnail_px
            example = read_example(self.folder, record)
            item = item_fields(self.folder, record, example, px, threshold_on)
            beside = self._beside(entry, example)
        except InputError as error:
            return broken_item(entry.this.record, str(error))
        scores = {**item["scores"], **beside.pop("scores", {})}
        return {**item, **beside, "scores": scores}

    def _read_other(self, listed: Listed) -> dict[str, Any]:
        """Read an item that the other dataset alone has."""
        assert self.against is not None
        if listed.fault:
            return broken_item(listed.record, listed.fault)
        try:
            example = read_example(self.against, listed.record)
        except InputError as error:
            return broken_item(listed.record, str(error))
        pictures = picture_fields(example, self.thumbnail_px)
        other = {"mask": pictures.pop("mask"), "scores": {}}
        return {**record_fields(listed.record), **pictures, "heats": [], OTHER: other}

    def _beside(self, entry: Entry, this: Example) -> dict[str, Any]:
        """Return what the page holds of the other dataset's item, and how far the masks agree."""
        if self.against is None:
            return {}
        if entry.other is None:
            return {"only": THIS}
        if entry.other.fault:
            return {OTHER: {"broken": entry.other.fault}}
        try:
            other = read_example(self.against, entry.other.record)
        except InputError as error:
            return {OTHER: {"broken": str(error)}}
        pictures = picture_fields(other, self.thumbnail_px)
        if np.array_equal(this.image, other.image):
            pictures = {"mask": pictures["mask"]}
        return {
            OTHER: {**pictures, "scores": scores_of(entry.other.record)},
            "scores": _iou(this, other),
        }


def _iou(this: Example, other: Example) -> dict[str, float]:
    """Return the mean IoU of the classes of two masks, where they are of one size."""
    if this.class_map.shape != other.class_map.shape:
        return {}
    undecided = this.class_map == IGNORE_ID
    truth = np.where(undecided, IGNORE_ID, other.class_map)
    ious = class_ious(confusion_matrix(this.class_map, truth, N_IDS))[1:IGNORE_ID]
    return {IOU: 1.0 if np.isnan(ious).all() else float(np.nanmean(ious))}


def _listed(folder: Path) -> dict[str, Listed]:
    listed = listed_records(folder)
    whole, torn = scan_records(folder, listed)
    faults = {name: "" if name in whole else _fault(folder, name, torn) for name in listed}
    return {name: Listed(record, faults[name]) for name, record in listed.items()}


def _fault(folder: Path, name: str, torn: list[str]) -> str:
    paths = file_paths(name)
    cut = [f"{path} is cut short" for path in paths.values() if path in torn]
    gone = [
        f"{paths[kind]} is not there"
        for kind in (IMAGE, MASK)
        if not (folder / paths[kind]).exists()
    ]
    return ", ".join(cut + gone) or f"the files of {name} lie outside of the dataset"
