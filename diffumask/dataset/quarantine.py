"""Where files of a dataset go that are not to be trusted, and are not to be lost either."""

import os
from collections.abc import Iterable
from pathlib import Path

from diffumask.files.atomic import link_or_copy
from diffumask.files.inside import make_folder, rename

BROKEN_FOLDER = ".broken"


def quarantine(folder: Path, paths: Iterable[str], copies: Iterable[str] = ()) -> Path | None:
    """Move files of a dataset to a new folder in .broken, and copy others to it.

    Returns that folder, None if no file is there. Raises OSError.
    """
    there = [path for path in paths if os.path.lexists(folder / path)]
    copied = [path for path in copies if (folder / path).is_file()]
    if not there and not copied:
        return None
    broken = folder / BROKEN_FOLDER
    make_folder(folder, BROKEN_FOLDER)
    taken = [int(path.name) for path in broken.iterdir() if path.name.isdecimal()]
    place = f"{BROKEN_FOLDER}/{max(taken, default=0) + 1:04d}"
    make_folder(folder, place)
    for path in copied:
        link_or_copy(folder, path, folder, f"{place}/{path}", copy=True)
    for path in there:
        if "/" in path:
            make_folder(folder, f"{place}/{path.partition('/')[0]}")
        rename(folder, path, f"{place}/{path}")
    return folder / place
