"""Files that others made: a folder, a zip or a single file, read in memory and bounded."""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from diffumask.errors import InputError
from diffumask.files.pictures import PNG, opened

MAX_FILES = 1_000_000
MAX_PNG_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 2**30
# What the shapes of an item take as JSON: run lengths of a ragged mask are about a byte a pixel,
# and a tool may give predictions and annotations. Read, a byte of JSON takes up to 30 of memory.
TEXT_BYTES, BYTES_PER_ITEM, BYTES_PER_PIXEL = 4 * 2**20, 2**16, 2
OF_SYSTEMS = ("__MACOSX", ".")  # what macOS and editors leave in folders
SINGLE = (".json", ".xml")  # files that are a whole export


@dataclass(frozen=True, slots=True)
class Archive:
    """Files by their paths in an archive; each is read when asked for, never unpacked to disk."""

    path: Path
    files: Mapping[str, Callable[[int], bytes]]
    max_text_bytes: int

    def read(self, name: str, max_bytes: int) -> bytes:
        """Read a file. Raises InputError for one that is larger or damaged."""
        try:
            content = self.files[name](max_bytes + 1)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise InputError(f"expected a whole {name} in {self.path}, got {error}") from error
        if len(content) > max_bytes:
            raise InputError(f"expected {name} of at most {max_bytes} bytes, got more")
        return content

    def text(self, name: str) -> str:
        """Read a text file. Raises InputError for one that is not UTF-8."""
        try:
            return self.read(name, self.max_text_bytes).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"expected UTF-8 in {name} of {self.path}, got {error}") from error

    def json(self, name: str) -> Any:
        """Read a JSON file. Raises InputError for anything else."""
        try:
            return json.loads(self.text(name))
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"expected JSON in {name} of {self.path}, got {error}") from error

    def png(self, name: str, size_hw: tuple[int, int], modes: Sequence[str]) -> np.ndarray:
        """Read a PNG of one of the Pillow modes: indices, values or colours.

        The size and mode are looked at before anything is decoded. Raises InputError for others.
        """
        content = self.read(name, MAX_PNG_BYTES)
        height, width = size_hw
        with opened(content, PNG, name=name) as picture:
            if picture.size != (width, height) or picture.mode not in modes:
                got = f"{picture.height}x{picture.width} of mode {picture.mode}"
                raise InputError(
                    f"expected {name} of {height}x{width} pixels (height x width) as its image, "
                    f"mode {' or '.join(modes)}, got {got}"
                )
            return np.array(picture.convert("RGB") if "RGB" in modes else picture)

    def ending(self, ending: str) -> list[str]:
        """List the files whose path ends so, in order."""
        return sorted(name for name in self.files if name.endswith(ending))

    def single(self, ending: str) -> str:
        """Return the only file of a name or, as ".json", of a kind.

        Raises InputError for none or several.
        """
        whole = ending if ending.startswith(".") else f"/{ending}"
        found = [name for name in sorted(self.files) if f"/{name}".endswith(whole)]
        if len(found) != 1:
            got = ", ".join(found) or self.some_files()
            raise InputError(f"expected one {ending} in {self.path}, got {got}")
        return found[0]

    def some_files(self) -> str:
        """Name the first files, for an error."""
        return ", ".join(sorted(self.files)[:3]) or "nothing"


def justified_bytes(n_items: int, size_hw: tuple[int, int]) -> int:
    """Return the most bytes that annotations of so many items, of about a size, may have."""
    height, width = size_hw
    of_item = max(BYTES_PER_ITEM, BYTES_PER_PIXEL * height * width)
    return min(MAX_TEXT_BYTES, TEXT_BYTES + n_items * of_item)


@contextmanager
def open_archive(path: Path, max_text_bytes: int = MAX_TEXT_BYTES) -> Iterator[Archive]:
    """Open a folder, a zip or a single JSON or XML file; a text in it may have `max_text_bytes`.

    Raises InputError for what is not there, a damaged zip, names in it that leave the folder
    and more than a million files. Links in folders are passed over.
    """
    if path.is_dir():
        found = [one for one in sorted(path.rglob("*")) if one.is_file() and not one.is_symlink()]
        files = {one.relative_to(path).as_posix(): _reader(one) for one in found}
        yield _checked(path, files, max_text_bytes)
    elif path.is_file() and path.suffix.lower() in SINGLE:
        yield _checked(path, {path.name: _reader(path)}, max_text_bytes)
    else:
        try:
            opened = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise InputError(
                f"expected a folder, zip, JSON or XML file, got {path}: {error}"
            ) from error
        with opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            files = {info.filename: _member(opened, info) for info in infos}
            yield _checked(path, files, max_text_bytes)


def _checked(
    path: Path, files: Mapping[str, Callable[[int], bytes]], max_text_bytes: int
) -> Archive:
    if len(files) > MAX_FILES:
        raise InputError(f"expected at most {MAX_FILES} files in {path}, got {len(files)}")
    for name in files:
        parts = PurePosixPath(name).parts
        windows = PureWindowsPath(name)
        if ".." in (*parts, *windows.parts) or name.startswith("/") or windows.drive:
            raise InputError(f"expected names inside of {path}, got {name!r}; do not trust it")
    own = {name: read for name, read in files.items() if not _of_system(name)}
    return Archive(path, own, max_text_bytes)


def _of_system(name: str) -> bool:
    return any(part.startswith(OF_SYSTEMS) for part in PurePosixPath(name).parts)


def _reader(path: Path) -> Callable[[int], bytes]:
    def read(max_bytes: int) -> bytes:
        with open(path, "rb") as file:
            return file.read(max_bytes)

    return read


def _member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read(max_bytes: int) -> bytes:
        with opened.open(info) as file:
            return file.read(max_bytes)

    return read
