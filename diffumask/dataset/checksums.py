"""The size and checksum of each file of an item, which its record keeps.

    "files": {"image": {"bytes": 30211, "blake2b": "9c1e..."}, "mask": {...}, "maps": {...}}

Folders that were made before there were any are read without.
"""

import hashlib
import os
from pathlib import Path
from typing import TypedDict

from diffumask.files.inside import leads_out, open_inside

FILES = "files"
DIGEST_BYTES = 16
PNG_END = b"IEND\xaeB`\x82"


class Stamp(TypedDict):
    """The size of a file, and its BLAKE2b checksum in hex digits."""

    bytes: int
    blake2b: str


def stamp(content: bytes) -> Stamp:
    """Describe the content of a file by its size and BLAKE2b checksum."""
    return {
        "bytes": len(content),
        "blake2b": hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest(),
    }


def is_torn(folder: Path, path: str, size: int, expected: Stamp | None) -> bool:
    """Tell whether a file of a folder, of `size` bytes, was cut short.

    A PNG of another length that has its end was drawn over by someone, and is none.
    """
    if expected is None or size == expected["bytes"]:
        return False
    return not (path.endswith(".png") and _has_png_end(folder, path))


def _has_png_end(folder: Path, path: str) -> bool:
    with open_inside(folder, path) as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - len(PNG_END)))
        return file.read() == PNG_END


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file of a folder, by name; a folder that is not there has none.

    Links that lead out of the dataset do not count: one of others must not show what is elsewhere.
    """
    if folder.is_symlink():
        return {}
    try:
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        entry.name: entry.stat().st_size
        for entry in files
        if not entry.is_symlink() or not leads_out(folder.parent, Path(entry.path))
    }
