"""Write files so that a kill or a full disk leaves either the old content or the new."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from diffumask.errors import InputError

PARTIAL_PREFIX = ".partial"  # of the hidden folder that a kill can leave beside a file
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def replace(path: Path, content: bytes, partial_folder: Path) -> None:
    """Write a file under `partial_folder`, sync it and rename it to its place.

    Both lie on one file system. Raises OSError, after which the old file is unchanged.
    """
    partial = partial_folder / path.name
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_file(path: Path, content: bytes) -> None:
    """Write a file in place of an earlier one, and the folders above it where they are missing.

    Raises InputError where it cannot be written.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=PARTIAL_PREFIX) as partial_folder:
            replace(path, content, Path(partial_folder))


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder last through a power cut; nothing to do on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, path: Path, copy: bool = False) -> None:
    """Make a file the same as another: a hard link to it if that can be, else a copy.

    Raises OSError.
    """
    path.unlink(missing_ok=True)  # a copy would be written into what it is linked to
    if not copy:
        try:
            return os.link(source, path)
        except OSError:  # another file system, or one without links
            path.unlink(missing_ok=True)
    with open(source, "rb") as old, open(path, "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


def append(path: Path, content: bytes) -> None:
    """Append to a file in one write and sync it.

    Raises OSError, after which the file has its old length.
    """
    with open(path, "ab", buffering=0) as file:
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
    """Turn an OSError of the block into an InputError of one line that says what to do."""
    try:
        yield
    except OSError as error:
        advice = (
            "free some space and run again, finished items are kept"
            if error.errno in DISK_FULL
            else "choose another folder"
        )
        raise InputError(
            f"expected to write to {folder}, got {error.strerror or error}; {advice}"
        ) from error
