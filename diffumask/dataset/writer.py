"""Items written so that a kill leaves each of them listed and whole, or not listed."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from diffumask.files.atomic import append, link_or_copy, replace, sync_folder, writing
from diffumask.files.inside import make_folder, read_inside, remove, rename
from diffumask.types import Example, Image

from .encode import EncodedItem, encode_item, to_line
from .listing import present_files
from .names import IMAGES_FOLDER, MASKS_FOLDER
from .parts import JOURNAL_FILE, METADATA_FILE, PARTIAL_FOLDER, PREVIEW_FILE, RUN_FILE
from .record import Record
from .run import Run

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
        PillowImage.fromarray(sheet).save(encoded, "JPEG", quality=PREVIEW_QUALITY, subsampling=0)
        with writing(self.folder):
            self._replace(PREVIEW_FILE, encoded.getvalue())

    def begin(self, run: Run) -> None:
        """Write run.json, and make the folders that every dataset has."""
        with writing(self.folder):
            make_folder(self.folder, PARTIAL_FOLDER)
            # First: a folder with anything else and no run.json would be refused as foreign.
            self._replace(RUN_FILE, (json.dumps(run.to_json(), indent=2) + "\n").encode())
            sync_folder(self.folder)
            for name in (IMAGES_FOLDER, MASKS_FOLDER):
                make_folder(self.folder, name)

    def sort_metadata(self) -> None:
        """Leave one line per finished item, in the order of names."""
        content = "".join(to_line(record) for _, record in sorted(self.records.items())).encode()
        with writing(self.folder):
            if not self._has_own_metadata() or self._metadata() != content:
                self._replace(METADATA_FILE, content)
                sync_folder(self.folder)
            remove(self.folder, JOURNAL_FILE)

    def is_in_order(self) -> bool:
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
