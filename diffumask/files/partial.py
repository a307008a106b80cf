"""Hidden folders for what is in the making; the next run removes those that a kill left."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock, Timeout

PREFIX = ".partial"
NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")  # as mkdtemp makes it
LOCK, INNER = "lock", "new"
TRIES = 5


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder below `folder`, and remove it at the end with all that is left in it.

    What earlier runs left is removed too, if no run holds it. Raises OSError.
    """
    remove_left(folder)
    place, lock = _begin(folder)
    try:
        inner = place / INNER
        inner.mkdir()
        yield inner
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)


def is_partial(name: str) -> bool:
    """Tell whether a name is that of such a folder."""
    return NAME.fullmatch(name) is not None


def _begin(folder: Path) -> tuple[Path, FileLock]:
    """Make a folder and hold it; until it is held, another run may take it for one left over."""
    for _ in range(TRIES):
        place = Path(mkdtemp(prefix=PREFIX, dir=folder))
        lock = FileLock(place / LOCK, timeout=0)
        try:
            lock.acquire()
        except (FileNotFoundError, Timeout):
            continue
        except NotImplementedError:  # no locks on this file system, so nothing is removed either
            return place, lock
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        if (place / LOCK).exists():
            return place, lock
        lock.release()
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def remove_left(folder: Path) -> None:
    """Remove what earlier runs left in a folder that is there, if no run holds it."""
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if is_partial(entry.name)]
    for entry in left:
        if not entry.is_dir(follow_symlinks=False):
            continue
        path = Path(entry.path)
        with suppress(OSError, NotImplementedError):  # held, or gone
            path.rmdir()  # if the kill came before the lock
        if (path / LOCK).is_file():
            with suppress(OSError, NotImplementedError), FileLock(path / LOCK, timeout=0):
                shutil.rmtree(path, ignore_errors=True)
