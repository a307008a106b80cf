"""Hold a folder against other runs."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from diffumask.errors import InputError

from .atomic import writing

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder that is there against other runs; the lock dies with the process.

    Raises InputError where another run holds it, and where the lock is not a file of our own.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    with writing(folder):
        _refuse_foreign(folder / LOCK_FILE)
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


def refuse_locked(folder: Path) -> None:
    """Raise InputError where `locked` would, and leave a folder that no run held as it is."""
    if os.path.lexists(folder / LOCK_FILE):
        with locked(folder):
            pass


def _refuse_foreign(path: Path) -> None:
    """Refuse what locking could empty: some versions of filelock open the file anew."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or (found.st_nlink > 1 and found.st_size):
        raise InputError(f"expected an empty file as {path}, got a link or another; remove it")
