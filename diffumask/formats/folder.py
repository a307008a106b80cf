"""A new folder that is there as a whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffumask.atomic import writing
from diffumask.errors import InputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside `out` to write to, and rename it to `out` at the end.

    When the block fails nothing is left; after a kill the hidden folder `.NAME.PID.partial`
    stays and can be deleted. Raises InputError for an `out` that holds something and for one
    that cannot be written.
    """
    with writing(out.parent):
        _refuse_taken(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.parent / f".{out.name}.{os.getpid()}.partial"
        partial.mkdir()
    try:
        with writing(out.parent):
            yield partial
            _refuse_taken(out)
            if out.exists():
                out.rmdir()
            os.rename(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_taken(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"expected a new folder, got {out}, a file or link; choose another")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"expected a new or empty folder, got {out} with {min(os.listdir(out))!r} in it; "
            "choose another"
        )
