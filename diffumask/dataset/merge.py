"""One dataset of several that were made with the same settings, such as the shards of a run."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from diffumask.errors import InputError

from .listing import read_records
from .record import Record
from .run import SHARD, read_run
from .shards import Shard, parse_shard
from .writer import Store

LISTED_AT_ONCE = 1024


def merged_run(folders: Sequence[Path]) -> tuple[dict[str, Any], dict[str, int], list[Any]]:
    """Return settings, classes and notes of the dataset that some folders make together.

    Raises InputError for a folder that is no dataset, and where settings or class ids differ,
    whose keys it names.
    """
    if not folders:
        raise InputError("expected folders to merge, got none")
    runs = [read_run(folder) for folder in folders]
    settings, classes = runs[0].settings, dict[str, int]()
    for folder, run in zip(folders, runs, strict=True):
        _refuse_others(folders[0], settings, folder, run.settings, "settings")
        both = classes.keys() & run.classes.keys()
        known = {name: run.classes[name] for name in both}
        _refuse_others(folders[0], {n: classes[n] for n in both}, folder, known, "class ids")
        classes |= run.classes
    notes: list[Any] = []
    for run in runs:
        unsharded = ({k: v for k, v in note.items() if k != SHARD} for note in run.runs)
        notes += [note for note in unsharded if note not in notes]
    return dict(settings), classes, notes


def merge(folders: Sequence[Path], store: Store, copy: bool = False) -> Iterator[int]:
    """Take all items of the folders over, and yield how many were added, from time to time.

    Files are hard links if they can be and `copy` is False. Items that are there already are
    passed over. Raises InputError where two folders have different items of one name, before
    anything is written.
    """
    wanted: dict[str, tuple[Path, Record]] = {}
    for folder in (store.folder, *folders):
        for record in read_records(folder):
            name = record.name
            owner, known = wanted.setdefault(name, (folder, record))
            if not _same(known, record):
                raise InputError(
                    f"expected one item {name}, got different ones in {owner} and {folder}; "
                    "merge what belongs together"
                )
    for folder in folders:
        ours = (record for owner, record in wanted.values() if owner == folder)
        missing = (record for record in ours if record.name not in store.records)
        while batch := list(islice(missing, LISTED_AT_ONCE)):
            store.adopt(folder, batch, copy)
            yield len(batch)


def missing_shards(folders: Sequence[Path]) -> list[Shard]:
    """List the shards that the runs of some folders leave open."""
    notes = [note for folder in folders for note in read_run(folder).runs]
    there = {parse_shard(note[SHARD]) for note in notes if SHARD in note}
    whole = {Shard(i + 1, k) for k in {shard.count for shard in there} for i in range(k)}
    return sorted(whole - there, key=lambda shard: (shard.count, shard.index))


def _same(record: Record, other: Record) -> bool:
    if record.files and other.files:
        return record.files == other.files
    return record == other


def _refuse_others(
    first: Path, old: Mapping[str, Any], folder: Path, new: Mapping[str, Any], what: str
) -> None:
    differing = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    if differing:
        listed = ", ".join(f"{k} ({old.get(k)!r} and {new.get(k)!r})" for k in differing)
        raise InputError(
            f"expected the same {what} in {first} and {folder}, got {listed}; "
            "merge what belongs together"
        )
