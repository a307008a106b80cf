"""`diffumask export`: a dataset in a format that others read."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

from .progress import progress
from .result import Result

if TYPE_CHECKING:
    from diffumask.formats.items import Selection
    from diffumask.formats.registry import Write

TRAIN_SHARE = 0.9
KEEP, CONTIGUOUS = IDS = ("keep", "contiguous")
PALETTE, GREY = PNG_MODES = ("P", "L")


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed."""

    folder: Path
    format_name: str
    out: Path
    with_dropped: bool = False
    split: float | None = None
    split_seed: int = 0
    stratified: bool = False
    instances: bool = False
    ids: str | None = None
    png_mode: str = PALETTE

    def __post_init__(self) -> None:
        refuse_inside(self.out, self.folder)
        for typed, known in ((self.ids or KEEP, IDS), (self.png_mode, PNG_MODES)):
            if typed not in known:
                raise InputError(f"expected {' or '.join(known)}, got {typed!r}")


def run(request: Request) -> Result:
    """Write the new folder, and return lines that say what is in it.

    Raises InputError for what the user can mend, and leaves no new folder then.
    """
    from diffumask.dataset.left_out import left_out
    from diffumask.formats.folder import new_folder
    from diffumask.formats.items import SPLITS
    from diffumask.formats.registry import WITHOUT_SPLITS

    name = request.format_name
    write = _writer(request)
    selection = _select(request)
    with new_folder(request.out) as folder, progress(len(selection), 0) as advance:
        notes = write(replace(selection, advance=advance), folder, request.instances)
    counts = {split: len(selection.positions[split]) for split in SPLITS}
    what = " and ".join(f"{count} {split}" for split, count in counts.items())
    facts: dict[str, Any] = {"folder": request.out, "format": name, "items": len(selection)}
    if name in WITHOUT_SPLITS:
        what = f"{len(selection)}"
    else:
        facts |= counts
        _warn_of_empty(counts, request)
    missing = left_out(request.folder, request.with_dropped)
    told = [str(missing)] if missing else []
    text = "\n".join([f"{what} items in {request.out}", *told, *notes])
    return Result(text, facts | {"left_out": missing.facts(), "notes": list(notes)})


def _writer(request: Request) -> "Write":
    """Return what writes the format. Raises InputError for options that it does not have."""
    from diffumask.formats.registry import (
        CONTIGUOUS_IDS,
        GREY_WRITERS,
        WITH_INSTANCES,
        WITHOUT_SPLITS,
        writer,
    )

    name = request.format_name
    write = writer(name)
    splits = request.split is not None or request.split_seed or request.stratified
    for option, given, formats in (
        ("--instances", request.instances, WITH_INSTANCES),
        ("--ids", request.ids is not None, CONTIGUOUS_IDS),
        ("--png-mode L", request.png_mode == GREY, GREY_WRITERS),
    ):
        if given and name not in formats:
            listed = ", ".join(sorted(formats))
            raise InputError(f"expected {option} with one of {listed}, got {name}; leave it out")
    if splits and name in WITHOUT_SPLITS:
        raise InputError(
            f"expected no --split, --split-seed or --stratified for {name}, got one; leave it out"
        )
    return writer(name, grey=True) if request.png_mode == GREY else write


def _select(request: Request) -> "Selection":
    from diffumask.formats.items import select
    from diffumask.formats.registry import CONTIGUOUS_IDS

    contiguous = CONTIGUOUS_IDS.get(request.format_name, False)
    return select(
        request.folder,
        TRAIN_SHARE if request.split is None else request.split,
        request.with_dropped,
        contiguous=contiguous if request.ids is None else request.ids == CONTIGUOUS,
        seed=request.split_seed,
        stratified=request.stratified,
    )


def _warn_of_empty(counts: dict[str, int], request: Request) -> None:
    """Say on stderr that a split that was not meant to be empty is."""
    cure = "generate more" if request.stratified else "take --stratified"
    for split, count in counts.items():
        if not count and request.split not in (0, 1):
            print(
                f"diffumask: no item of {request.folder} is in {split}; {cure} or another "
                "--split-seed",
                file=sys.stderr,
            )


def refuse_inside(out: Path, folder: Path) -> None:
    """Raise InputError for a new folder in the dataset that it is made from."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"expected a new folder outside of {folder}, got {out}; choose another")
