"""A new folder that is there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffumask.errors import InputError
from diffumask.files.atomic import writing
from diffumask.files.partial import partial_folder, remove_left


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside `out` to write to, and rename it to `out` at the end.

    When the block fails nothing is left; what a kill leaves is hidden, and removed by the next
    call. Raises InputError for an `out` that holds something and for one that cannot be written.
    """
    with writing(out.parent):
        if out.parent.is_dir():
            remove_left(out.parent)
        _refuse_taken(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(out.parent) as partial:
            yield partial
            _refuse_taken(out)
            if out.exists():
                out.rmdir()
            os.rename(partial, out)


def _refuse_taken(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"expected a new folder, got {out}, a file or link; choose another")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"expected a new or empty folder, got {out} with {min(os.listdir(out))!r} in it; "
            "choose another"
        )
