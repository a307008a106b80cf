"""Files of a folder that comes from others, reached so that no link leads out of it.

Names are paths in the folder, with "/". The folder itself may be reached through links. Where the
system has no O_NOFOLLOW and no descriptors of folders (Windows), links are looked for beforehand.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from diffumask.errors import InputError

NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
# Without O_NONBLOCK a named pipe would be waited for.
ALWAYS: int = NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
HAS_DESCRIPTORS = bool(NOFOLLOW) and {os.open, os.mkdir, os.rename, os.unlink} <= os.supports_dir_fd
LINK_ITSELF = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}
LEADS_OUT = "a link that leads out of it"
NO_FILE = "what is no plain file"
SHARED = "a file that has other names too, as a hard link"


def leads_out(folder: Path, path: Path) -> bool:
    """Tell whether a path in a folder is, by links, one outside of it."""
    return not path.resolve().is_relative_to(folder.resolve())


def open_inside(folder: Path, name: str) -> BinaryIO:
    """Open a plain file to read; it may be a link to another one of the folder.

    Raises OSError, of ELOOP for a link that leads out.
    """
    try:
        descriptor = _open(folder, name, os.O_RDONLY)
    except OSError as error:
        if not _has_link(folder, name):
            raise
        root, place = folder.resolve(), (folder / name).resolve()
        if not place.is_relative_to(root):
            raise OSError(errno.ELOOP, LEADS_OUT) from error
        descriptor = _open(root, place.relative_to(root).as_posix(), os.O_RDONLY)
    return os.fdopen(descriptor, "rb")


def read_inside(folder: Path, name: str) -> bytes:
    """Read a file as `open_inside` opens it."""
    with open_inside(folder, name) as file:
        return file.read()


def read_text(folder: Path, name: str) -> str:
    """Read a file of lines as `read_inside` does, nothing where it is not there.

    Raises InputError for a link that leads out, and for what is no file.
    """
    try:
        return read_inside(folder, name).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise InputError(
            f"expected {name} as a file in {folder}, got {error.strerror}; put it in its place"
        ) from error


def create(folder: Path, name: str) -> BinaryIO:
    """Open a new file to write, in place of one that is there. Raises OSError."""
    remove(folder, name)
    return os.fdopen(_open(folder, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def open_to_append(folder: Path, name: str) -> BinaryIO:
    """Open a file to append to, without a buffer. Raises OSError, also for one with other names."""
    descriptor = _open(folder, name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EMLINK, SHARED)
    return os.fdopen(descriptor, "ab", buffering=0)


def rename(folder: Path, name: str, new_name: str) -> None:
    """Rename a file or a link, in place of one that is there. Raises OSError."""
    with _parent(folder, name) as (old, old_at), _parent(folder, new_name) as (new, new_at):
        os.replace(old, new, src_dir_fd=old_at, dst_dir_fd=new_at)


def link(source: Path, name: str, folder: Path, new_name: str) -> bool:
    """Make a hard link to a plain file of another folder; tell whether that could be."""
    try:
        with _parent(source, name) as (old, old_at), _parent(folder, new_name) as (new, new_at):
            os.link(old, new, src_dir_fd=old_at, dst_dir_fd=new_at, **LINK_ITSELF)
            if stat.S_ISREG(os.stat(new, dir_fd=new_at, follow_symlinks=False).st_mode):
                return True
    except (OSError, NotImplementedError):  # another file system, or one without links
        pass
    remove(folder, new_name)
    return False


def remove(folder: Path, name: str) -> None:
    """Remove a file or a link, if it is there. Raises OSError."""
    with _parent(folder, name) as (place, at), suppress(FileNotFoundError):
        os.unlink(place, dir_fd=at)


def make_folder(folder: Path, name: str) -> None:
    """Make a folder, if it is not there. Raises OSError."""
    with _parent(folder, name) as (place, at), suppress(FileExistsError):
        os.mkdir(place, dir_fd=at)


def refuse_links(folder: Path) -> None:
    """Raise InputError for a folder, of our own making, that has a link anywhere in it.

    One that is not there has none.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (Path(parent) / name).is_symlink():
                raise InputError(
                    f"expected files and folders alone in {folder}, got the link "
                    f"{Path(parent) / name}; remove it"
                )


def _has_link(folder: Path, name: str) -> bool:
    place = folder
    for part in name.split("/"):
        place /= part
        if place.is_symlink():
            return True
    return False


def _open(folder: Path, name: str, flags: int) -> int:
    with _parent(folder, name) as (place, at):
        descriptor = os.open(place, flags | ALWAYS, 0o666, dir_fd=at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, NO_FILE)
    return descriptor


@contextmanager
def _parent(folder: Path, name: str) -> Iterator[tuple[str, int | None]]:
    """Give the last part of a name, and the descriptor of the folder that it is in.

    No part of the name above the last one is followed if it is a link.
    """
    *above, last = name.split("/")
    if not HAS_DESCRIPTORS:
        if _has_link(folder, name):
            raise OSError(errno.ELOOP, LEADS_OUT)
        yield str(folder / name), None
        return
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        yield last, at
    finally:
        os.close(at)
