"""Where a new folder may be."""

from pathlib import Path

from diffumask.errors import InputError

from .option import StrPath


def refuse_inside(out: StrPath, folder: StrPath) -> None:
    """Raise InputError for a new folder in the dataset that it is made from."""
    if Path(out).resolve().is_relative_to(Path(folder).resolve()):
        raise InputError(f"expected a new folder outside of {folder}, got {out}; choose another")
