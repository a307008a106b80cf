"""Which items of a dataset those that read it leave out, and why."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffumask.articles import counted
from diffumask.files.inside import read_text

from .listing import listed_records, names_item, scan_records
from .parts import METADATA_FILE

SHOWN = 5  # names in a line of text


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Items by name: `dropped` by `diffumask filter`, `broken` without whole files of their own.

    `lines` counts the lines of metadata.jsonl that are no record.
    """

    folder: Path
    dropped: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    lines: int = 0

    def __bool__(self) -> bool:
        return bool(self.dropped or self.broken or self.lines)

    def __str__(self) -> str:
        shown = ", ".join(self.broken[:SHOWN]) + (", ..." if len(self.broken) > SHOWN else "")
        parts = [
            f"{len(self.dropped)} dropped by filter" if self.dropped else "",
            f"{len(self.broken)} broken ({shown})" if self.broken else "",
            f"no record in {counted(self.lines, 'line')}" if self.lines else "",
        ]
        advice = f"; see what diffumask verify {self.folder} says"
        text = f"left out of {self.folder}: {', '.join(filter(None, parts))}"
        return text + (advice if self.broken or self.lines else "")

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def left_out(folder: Path, with_dropped: bool = False, broken: Iterable[str] = ()) -> LeftOut:
    """Find what is left out of a dataset; `broken` names items that proved so when they were read.

    Raises InputError as `records.read_text`.
    """
    listed = listed_records(folder)
    whole, _ = scan_records(folder, listed)
    lost = (listed.keys() - whole.keys()) | set(broken)
    dropped = [name for name, record in whole.items() if record.is_dropped and not with_dropped]
    lines = [line for line in read_text(folder, METADATA_FILE).split("\n") if line]
    return LeftOut(
        folder,
        tuple(sorted(dropped)),
        tuple(sorted(lost)),
        sum(not names_item(line) for line in lines),
    )
