"""The items of a page while they are being made: what is new since someone asked last."""

import secrets
import threading
from collections.abc import Mapping
from typing import Any

from diffumask.dataset.names import IMAGES_FOLDER, MASKS_FOLDER
from diffumask.dataset.parts import JOURNAL_FILE, METADATA_FILE
from diffumask.errors import InputError

from .entries import Entry, Source

BATCH = 48  # items in an answer, so that the first pictures are there at once
WATCHED = (METADATA_FILE, JOURNAL_FILE, IMAGES_FOLDER, MASKS_FOLDER)
Item = Mapping[str, Any]


class Live:
    """Items by the number of the change that brought them; many threads may ask."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._token = secrets.token_hex(8)  # a page of an earlier server asks for all anew
        self._seen: object = None
        self._entries: dict[str, Entry] = {}
        self._read: dict[str, Entry] = {}
        self._items: dict[str, tuple[int, Item]] = {}
        self._changes = 0

    def since(self, mark: str) -> dict[str, Any]:
        """Return the items that are new or changed since the answer that had this `mark`.

        At most BATCH of them come; `waiting` says how many others there are. An item that is no
        longer listed is `gone`. What cannot be read is told as `error`.
        """
        with self._lock:
            try:
                self._refresh()
                self._read_batch()
            except InputError as error:
                return {"mark": mark, "items": [], "waiting": 0, "error": str(error)}
            token, _, number = mark.partition(".")
            known = int(number) if token == self._token and number.isdecimal() else 0
            new = sorted(
                (pair for pair in self._items.values() if pair[0] > known), key=lambda pair: pair[0]
            )
            sent = new[:BATCH]
            last = sent[-1][0] if sent else known
            unread = sum(entry != self._read.get(name) for name, entry in self._entries.items())
        items = [item for _, item in sent]
        waiting = len(new) - len(sent) + unread
        return {"mark": f"{self._token}.{last}", "items": items, "waiting": waiting}

    def _refresh(self) -> None:
        """List the items anew, if anything in the folders changed."""
        folders = [one for one in (self._source.folder, self._source.against) if one is not None]
        seen = [_times(folder / name) for folder in folders for name in WATCHED]
        if seen == self._seen:
            return
        entries = self._source.entries()
        for name in self._entries.keys() - entries.keys():
            self._read.pop(name, None)
            if name in self._items:
                self._change(name, {"name": name, "gone": True})
        self._entries, self._seen = entries, seen

    def _read_batch(self) -> None:
        new = [one for one in self._entries.items() if one[1] != self._read.get(one[0])][:BATCH]
        if not new:
            return
        threshold_on = self._source.run().settings.get("heat", "")
        for name, entry in new:
            self._change(name, self._source.read(entry, threshold_on))
            self._read[name] = entry

    def _change(self, name: str, item: Item) -> None:
        self._changes += 1
        self._items[name] = (self._changes, item)


def _times(path: Any) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size
