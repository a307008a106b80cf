"""Write files so that a kill or a full disk leaves either the old content or the new."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError

from diffumask.errors import InputError

from .inside import create, link, open_inside, open_to_append, remove, rename
from .partial import partial_folder, remove_left

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def replace(folder: Path, name: str, content: bytes, partial: str) -> None:
    """Write a file of a folder under `partial`, a folder in it, and rename it to its place.

    No link in the folder is followed. Raises OSError, after which the old file is unchanged.
    """
    place = f"{partial}/{PurePosixPath(name).name}"
    with create(folder, place) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    rename(folder, place, name)


def write_file(path: Path, content: bytes) -> None:
    """Write a file in place of an earlier one, and the folders above it where they are missing.

    Raises InputError where it cannot be written.
    """
    with new_file(path) as partial:
        partial.write_bytes(content)


def write_new(contents: Mapping[Path, bytes], what: str) -> None:
    """Write files that are not there yet with that content, as after a kill between two of them.

    What such a kill left in the making goes. Raises InputError for a file of other content, before
    anything is written; `what` names them.
    """
    for path, content in contents.items():
        if path.exists() and not (path.is_file() and path.read_bytes() == content):
            raise InputError(f"expected a free name for {what}, got {path}; choose another")
    for path, content in contents.items():
        if path.exists():
            remove_left(path.parent)
        else:
            write_file(path, content)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; at the end what is there is synced and renamed to `path`.

    Folders above it are made where they are missing. Raises InputError where that cannot be done.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(path.parent) as folder:
            partial = folder / path.name
            yield partial
            take_over(partial, path)
        sync_folder(path.parent)


def take_over(partial: Path, path: Path) -> None:
    """Sync a file that another library wrote, and rename it to its place. Raises OSError."""
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder last through a power cut; nothing to do on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, name: str, folder: Path, place: str, copy: bool = False) -> None:
    """Make a file of a folder the same as one of another: a hard link if that can be, or a copy.

    Of a link within `source` it is a copy. Raises OSError, also for a link that leads out of it.
    """
    remove(folder, place)  # a copy would be written into what it is linked to
    if not copy and link(source, name, folder, place):
        return
    with open_inside(source, name) as old, create(folder, place) as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


def append(folder: Path, name: str, content: bytes) -> None:
    """Append to a file of a folder in one write and sync it.

    Raises OSError, after which the file has its old length; also for a link, or one with other
    names, of which what is behind could be someone else's.
    """
    with open_to_append(folder, name) as file:
        old_length = file.seek(0, os.SEEK_END)
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(old_length)
            raise


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into an InputError of one line that says what to do.

    One that safetensors met counts as well.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        found = _os_error(error)
        advice = (
            "free some space and run again, finished items are kept"
            if found.errno in DISK_FULL
            else "choose another folder"
        )
        raise InputError(
            f"expected to write to {folder}, got {found.strerror or found}; {advice}"
        ) from error


def _os_error(error: Exception) -> OSError:
    """Return an OSError; safetensors tells its number in words."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
