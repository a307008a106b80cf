"""Where files of a dataset go that are not to be trusted, and are not to be lost either."""

import os
from collections.abc import Iterable
from pathlib import Path

from diffumask.atomic import link_or_copy

BROKEN_FOLDER = ".broken"


def set_aside(folder: Path, paths: Iterable[str], copies: Iterable[str] = ()) -> Path | None:
    """Move files of a dataset to a new folder in .broken, and copy others to it.

    Returns that folder, None if no file is there. Raises OSError.
    """
    there = [path for path in paths if os.path.lexists(folder / path)]
    copied = [path for path in copies if (folder / path).is_file()]
    if not there and not copied:
        return None
    broken = folder / BROKEN_FOLDER
    broken.mkdir(exist_ok=True)
    taken = [int(path.name) for path in broken.iterdir() if path.name.isdecimal()]
    aside = broken / f"{max(taken, default=0) + 1:04d}"
    aside.mkdir()
    for path in copied:
        link_or_copy(folder / path, aside / path, copy=True)
    for path in there:
        (aside / path).parent.mkdir(exist_ok=True)
        os.rename(folder / path, aside / path)
    return aside
