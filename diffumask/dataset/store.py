"""The native dataset folder, in which every item that is listed is complete.

    images/Bird_000012.png   RGB
    masks/Bird_000012.png    8-bit palette: 0 background, class id, 255 ignore
    metadata.jsonl           one line per finished item, appended after its files
    run.json                 settings, classes and runs, written first
    maps/...                 heat maps, if asked for: see `diffumask.dataset.maps`
    preview.jpg              contact sheet
    .broken/0001/...         files that were set aside, see `diffumask.dataset.verify`

`datasets.load_dataset("imagefolder", data_dir=folder)` reads it.
"""

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from diffumask.files.atomic import append, link_or_copy, replace, sync_folder, writing
from diffumask.files.begun import refuse_changes, refuse_foreign
from diffumask.files.inside import make_folder, read_inside, remove, rename
from diffumask.files.lock import locked
from diffumask.types import Example, Image

from .encode import EncodedItem, encode_item, to_line
from .listing import present_files, scan_records
from .names import IMAGES_FOLDER, MASKS_FOLDER
from .parts import JOURNAL_FILE, METADATA_FILE, PARTIAL_FOLDER, PREVIEW_FILE, RUN_FILE, check_parts
from .quarantine import quarantine
from .record import Record
from .run import Run, continued_run, new_run, read_run

PREVIEW_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Store:
    """A dataset folder open for writing; `records` holds the finished items by name."""

    folder: Path
    records: dict[str, Record]

    def write(
        self, name: str, example: Example, facts: Mapping[str, Any], maps: bytes | None = None
    ) -> None:
        """Write one item: image, mask, encoded heat maps if any, then its line in metadata.jsonl.

        `facts` are further JSON fields of the line. Raises as `write_batch`.
        """
        self.write_batch([encode_item(name, example, facts, maps)])

    def write_batch(self, items: Sequence[EncodedItem]) -> None:
        """Write items so that after a kill all of them are listed, or none.

        Raises InputError when the disk is full or the folder cannot be written: none of them is
        listed then, and all others stay.
        """
        with writing(self.folder):
            parts = {path.partition("/")[0] for item in items for path in item.files}
            for part in parts:
                make_folder(self.folder, part)
            for item in items:
                for path, content in item.files.items():
                    self._replace(path, content)
            self._list([item.record for item in items], parts)

    def adopt(self, source: Path, records: Sequence[Record], copy: bool = False) -> None:
        """Take items over from another dataset, whose files are linked, or else copied.

        Raises as `write_batch`.
        """
        with writing(self.folder):
            paths = [path for record in records for path in present_files(source, record)]
            parts = {path.partition("/")[0] for path in paths}
            for part in parts:
                make_folder(self.folder, part)
            for path in paths:
                place = f"{PARTIAL_FOLDER}/{path.partition('/')[2]}"
                link_or_copy(source, path, self.folder, place, copy)
                rename(self.folder, place, path)
            self._list(records, parts)

    def _list(self, records: Sequence[Record], parts: Iterable[str]) -> None:
        """List items, once the renames of their files last through a power cut."""
        lines = "".join(map(to_line, records)).encode()
        for part in parts:
            sync_folder(self.folder / part)
        try:
            if len(records) > 1:  # a kill can cut the lines short, whereupon the journal has them
                self._replace(JOURNAL_FILE, lines)
                sync_folder(self.folder)
            append(self.folder, METADATA_FILE, lines)
        finally:
            remove(self.folder, JOURNAL_FILE)
        self.records.update((record.name, record) for record in records)

    def write_preview(self, sheet: Image) -> None:
        """Write the contact sheet."""
        encoded = io.BytesIO()
        PillowImage.fromarray(sheet).save(encoded, "JPEG", quality=PREVIEW_QUALITY)
        with writing(self.folder):
            self._replace(PREVIEW_FILE, encoded.getvalue())

    def _begin(self, run: Run) -> None:
        with writing(self.folder):
            make_folder(self.folder, PARTIAL_FOLDER)
            # First: a folder with anything else and no run.json would be refused as foreign.
            self._replace(RUN_FILE, (json.dumps(run.to_json(), indent=2) + "\n").encode())
            sync_folder(self.folder)
            for name in (IMAGES_FOLDER, MASKS_FOLDER):
                make_folder(self.folder, name)

    def _sort_metadata(self) -> None:
        """Leave one line per finished item, in the order of names."""
        content = "".join(to_line(record) for _, record in sorted(self.records.items())).encode()
        with writing(self.folder):
            if not self._has_own_metadata() or self._metadata() != content:
                self._replace(METADATA_FILE, content)
                sync_folder(self.folder)
            remove(self.folder, JOURNAL_FILE)

    def _is_in_order(self) -> bool:
        """Tell whether metadata.jsonl has one line per item, in order, whatever their wording."""
        if not self._has_own_metadata() or (self.folder / JOURNAL_FILE).exists():
            return False
        content = self._metadata()
        whole = content.count(b"\n") == len(self.records) and content[-1:] in (b"", b"\n")
        return whole and list(self.records) == sorted(self.records)

    def _has_own_metadata(self) -> bool:
        """Tell whether metadata.jsonl is there, and no hard link to that of another folder."""
        path = self.folder / METADATA_FILE
        return path.exists() and path.stat().st_nlink == 1

    def _metadata(self) -> bytes:
        return read_inside(self.folder, METADATA_FILE)

    def _replace(self, name: str, content: bytes) -> None:
        replace(self.folder, name, content, PARTIAL_FOLDER)


@contextmanager
def open_store(
    folder: Path,
    settings: Mapping[str, Any],
    classes: Mapping[str, int],
    *notes: Mapping[str, Any],
) -> Iterator[Store]:
    """Open a new folder, or go on with one made with the same settings.

    `settings` are what an item depends on; they can change as long as no item is finished.
    `classes` (name -> id) may grow from run to run, and the `notes` of one or several runs
    (versions, device, ...) are only recorded. Files that were cut short are set aside in .broken,
    and their items are to be made again. Raises InputError for other settings, whose keys it
    names, for a folder of something else, one that another run is writing to, and one that cannot
    be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(folder)
    check_parts(folder)
    with locked(folder):
        records, torn = scan_records(folder)
        store = Store(folder, records)
        run = new_run(settings, classes, notes)
        if (folder / RUN_FILE).exists():
            earlier = read_run(folder)
            run = continued_run(folder, earlier, run) if store.records else run
        with prepared(store, run, torn, in_order=store._is_in_order()):
            length = (folder / METADATA_FILE).stat().st_size
            yield store
            if (folder / METADATA_FILE).stat().st_size != length:
                store._sort_metadata()


@contextmanager
def prepared(
    store: Store, run: Run, torn: Iterable[str] = (), in_order: bool = False
) -> Iterator[None]:
    """Bring a folder that is locked in order: run.json, its lines, nothing torn or partial."""
    try:
        store._begin(run)
        with writing(store.folder):
            quarantine(store.folder, torn)
        if not in_order:
            store._sort_metadata()
        yield
    finally:
        shutil.rmtree(store.folder / PARTIAL_FOLDER, ignore_errors=True)


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError where a folder with items was begun with other values of these settings.

    For those that are known before a model is loaded; `open_store` compares all of them.
    """
    if (folder / RUN_FILE).is_file() and scan_records(folder)[0]:
        earlier = read_run(folder).settings
        new = new_run(settings, {}, []).settings
        refuse_changes(folder, {name: earlier.get(name) for name in new}, new)


def _refuse_foreign(folder: Path) -> None:
    if RUN_FILE in os.listdir(folder):
        return
    left = {PARTIAL_FOLDER}
    for name in (IMAGES_FOLDER, MASKS_FOLDER):  # as earlier versions left them after a kill
        if (folder / name).is_dir() and not os.listdir(folder / name):
            left.add(name)
    refuse_foreign(folder, "diffumask", left)
