"""The native dataset folder, in which every item that is listed is complete.

    images/Bird_000012.png   RGB
    masks/Bird_000012.png    8-bit palette: 0 background, class id, 255 ignore
    metadata.jsonl           one line per finished item, appended after its two files
    run.json                 settings, classes and runs, written first
    maps/...                 heat maps, if asked for: see `diffumask.maps`
    preview.jpg              contact sheet

`datasets.load_dataset("imagefolder", data_dir=folder)` reads it.
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image as PillowImage

from diffumask.atomic import append, replace, writing
from diffumask.errors import InputError
from diffumask.maps import MAPS_FOLDER, maps_path
from diffumask.records import (
    METADATA_FILE,
    Record,
    encode_class_map,
    encode_image,
    make_record,
    read_records,
    record_name,
    to_line,
)
from diffumask.types import Example, Image

RUN_FILE = "run.json"
PREVIEW_FILE = "preview.jpg"
PREVIEW_QUALITY = 90
LOCK_FILE = ".lock"
PARTIAL_FOLDER = ".partial"
FORMAT = 1
RUN_KEYS = {"format", "settings", "classes", "runs"}


@dataclass(frozen=True, slots=True)
class Store:
    """A dataset folder open for writing; `records` holds the finished items by name."""

    folder: Path
    records: dict[str, Record]

    def write(
        self, name: str, example: Example, facts: Mapping[str, Any], maps: bytes | None = None
    ) -> None:
        """Write one item: image, mask, encoded heat maps if any, then its line in metadata.jsonl.

        `facts` are further JSON fields of the line. Raises InputError when the disk is full or
        the folder cannot be written: the item is then not listed, and all others stay.
        """
        record = make_record(name, example, facts)
        with writing(self.folder):
            self._replace(record["file_name"], encode_image(example.image))
            self._replace(record["mask_file_name"], encode_class_map(example.class_map))
            if maps is not None:
                (self.folder / MAPS_FOLDER).mkdir(exist_ok=True)
                self._replace(maps_path(name), maps)
            append(self.folder / METADATA_FILE, to_line(record).encode())
        self.records[name] = record

    def write_preview(self, sheet: Image) -> None:
        """Write the contact sheet."""
        encoded = io.BytesIO()
        PillowImage.fromarray(sheet).save(encoded, "JPEG", quality=PREVIEW_QUALITY)
        with writing(self.folder):
            self._replace(PREVIEW_FILE, encoded.getvalue())

    def _begin(self, run: Mapping[str, Any]) -> None:
        with writing(self.folder):
            for name in ("images", "masks", PARTIAL_FOLDER):
                (self.folder / name).mkdir(exist_ok=True)
            self._replace(RUN_FILE, (json.dumps(run, indent=2) + "\n").encode())

    def _sort_metadata(self) -> None:
        """Leave one line per finished item, in the order of names."""
        path = self.folder / METADATA_FILE
        content = "".join(to_line(record) for _, record in sorted(self.records.items())).encode()
        if not path.exists() or path.read_bytes() != content:
            with writing(self.folder):
                self._replace(METADATA_FILE, content)

    def _replace(self, name: str, content: bytes) -> None:
        replace(self.folder / name, content, self.folder / PARTIAL_FOLDER)


@contextmanager
def open_store(
    folder: Path,
    settings: Mapping[str, Any],
    classes: Mapping[str, int],
    notes: Mapping[str, Any],
) -> Iterator[Store]:
    """Open a new folder, or go on with one made with the same settings.

    `settings` are what an item depends on; they can change as long as no item is finished.
    `classes` (name -> id) may grow from run to run, and `notes` (versions, device, ...) are only
    recorded. Raises InputError for other settings, whose keys it names, for a folder of
    something else, one that another run is writing to, and one that cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(folder)
    with _locked(folder):
        store = Store(folder, {record_name(record): record for record in read_records(folder)})
        settings = json.loads(json.dumps(settings))  # as it will be read back
        run = {"format": FORMAT, "settings": settings, "classes": classes, "runs": [notes]}
        if (folder / RUN_FILE).exists():
            earlier = read_run(folder)
            run = _continued(folder, earlier, run) if store.records else run
        try:
            store._begin(run)
            store._sort_metadata()
            yield store
            store._sort_metadata()
        finally:
            shutil.rmtree(folder / PARTIAL_FOLDER, ignore_errors=True)


def annotate(folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Set fields in the lines of items, by name, and leave all else as it is.

    Raises InputError for a folder that is no dataset, that another run writes to or that cannot
    be written; KeyError for an item that is not there.
    """
    run = read_run(folder)
    with _locked(folder):
        records = {record_name(record): record for record in read_records(folder)}
        for name, fields in facts.items():
            records[name] |= fields
        store = Store(folder, records)
        try:
            store._begin(run)
            store._sort_metadata()
        finally:
            shutil.rmtree(folder / PARTIAL_FOLDER, ignore_errors=True)


def read_run(folder: Path) -> dict[str, Any]:
    """Read run.json. Raises InputError when it is missing or not as this version writes it."""
    path = folder / RUN_FILE
    try:
        run = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"expected a dataset with {path}, got {error.strerror}") from error
    except ValueError:
        run = None
    if not isinstance(run, dict) or set(run) != RUN_KEYS or run["format"] != FORMAT:
        raise InputError(
            f"expected {path} in format {FORMAT}, got something else; choose another folder"
        )
    return run


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other runs; the lock dies with the process."""
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    with writing(folder):
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                f"expected {folder} to be free, got another run that writes to it; "
                "wait for it or choose another folder"
            ) from None
    try:
        yield
    finally:
        lock.release()


def _refuse_foreign(folder: Path) -> None:
    found = set(os.listdir(folder)) - {LOCK_FILE, PARTIAL_FOLDER}
    if found and RUN_FILE not in found:
        raise InputError(
            f"expected an empty folder or one of diffumask, got {folder} with {min(found)!r} in "
            "it; choose another folder"
        )


def _continued(folder: Path, earlier: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Add a run to those that made the folder so far, if its settings are theirs."""
    known = earlier["classes"]
    classes = {**known, **run["classes"]}
    _refuse_changes(folder, earlier["settings"], run["settings"])
    _refuse_changes(folder, known, {name: classes[name] for name in known})
    runs = [*earlier["runs"], *(notes for notes in run["runs"] if notes not in earlier["runs"])]
    return {**run, "classes": classes, "runs": runs}


def _refuse_changes(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    if changed:
        listed = ", ".join(f"{key} ({old.get(key)!r}, now {new.get(key)!r})" for key in changed)
        raise InputError(
            f"expected the settings that {folder} was begun with, got another {listed}; "
            "repeat the old ones or choose another folder"
        )
