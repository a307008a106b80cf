"""`diffumask export`: a dataset in a format that others read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffumask.errors import InputError

from .progress import progress
from .result import Result

TRAIN_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed."""

    folder: Path
    format_name: str
    out: Path
    split: float | None = None
    instances: bool = False
    with_dropped: bool = False

    def __post_init__(self) -> None:
        refuse_inside(self.out, self.folder)


def run(request: Request) -> Result:
    """Write the new folder, and return lines that say what is in it.

    Raises InputError for what the user can mend, and leaves no new folder then.
    """
    from diffumask.formats.folder import new_folder
    from diffumask.formats.items import SPLITS, select
    from diffumask.formats.registry import WITH_INSTANCES, WITHOUT_SPLITS, writer

    name = request.format_name
    write = writer(name)
    if request.instances and name not in WITH_INSTANCES:
        listed = ", ".join(sorted(WITH_INSTANCES))
        raise InputError(f"expected --instances with one of {listed}, got {name}; leave it out")
    if request.split is not None and name in WITHOUT_SPLITS:
        raise InputError(f"expected no --split for {name}, got {request.split}; leave it out")
    share = TRAIN_SHARE if request.split is None else request.split
    selection = select(request.folder, share, request.with_dropped)
    with new_folder(request.out) as folder, progress(len(selection), 0) as advance:
        notes = write(replace(selection, advance=advance), folder, request.instances)
    counts = [f"{len(selection.positions[split])} {split}" for split in SPLITS]
    what = f"{len(selection)}" if name in WITHOUT_SPLITS else " and ".join(counts)
    facts: dict[str, Any] = {"folder": request.out, "format": name, "items": len(selection)}
    if name not in WITHOUT_SPLITS:
        facts |= {split: len(selection.positions[split]) for split in SPLITS}
    text = "\n".join([f"{what} items in {request.out}", *notes])
    return Result(text, facts | {"notes": list(notes)})


def refuse_inside(out: Path, folder: Path) -> None:
    """Raise InputError for a new folder in the dataset that it is made from."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"expected a new folder outside of {folder}, got {out}; choose another")
