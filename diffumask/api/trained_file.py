"""A file that a training makes, with the folder beside it that the training goes on in."""

from collections.abc import Sequence
from pathlib import Path

from diffumask.errors import InputError

SUFFIX = ".safetensors"


def check_trained_file(what: str, files: Sequence[Path]) -> None:
    """Raise InputError for another kind of file, and for names that are taken by no training.

    The first of the files is what is trained, the others go with it.
    """
    out = files[0]
    if out.suffix != SUFFIX:
        raise InputError(f"expected {what} named *{SUFFIX}, got {out}")
    if not training_beside(out).exists():
        refuse_taken(what, files)


def training_beside(out: Path) -> Path:
    """Return the folder of what a training needs to go on."""
    return out.with_suffix(".training")


def check_unfinished(what: str, files: Sequence[Path], num_steps: int) -> None:
    """Raise InputError for files that are there already, unless a kill came after they were."""
    from diffumask.training.state import is_at_its_end

    if not is_at_its_end(training_beside(files[0]), num_steps):
        refuse_taken(what, files)


def refuse_taken(what: str, files: Sequence[Path]) -> None:
    """Raise InputError for a file that is there already."""
    for path in files:
        if path.exists():
            raise InputError(f"expected a free name for {what}, got {path}; choose another")
