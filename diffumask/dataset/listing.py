"""Which items a dataset folder lists, and which of their files are there and whole."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.inside import leads_out, read_text
from diffumask.files.json_kinds import parse

from .checksums import file_sizes, is_torn
from .names import (
    IMAGE,
    IMAGES_FOLDER,
    MAPS,
    MAPS_FOLDER,
    MASK,
    MASKS_FOLDER,
    file_paths,
    named_item,
)
from .parts import JOURNAL_FILE, METADATA_FILE
from .record import Record


def read_records(folder: Path) -> list[Record]:
    """List the finished items whose files are there and not cut short.

    Of several lines for one item the last counts. A line that names no item, such as a last
    line torn by a power cut, is skipped, so that its item will be made again. Heat maps may have
    been deleted. Raises InputError for a line that names an item but tells something else of it
    than a `Record` does.
    """
    return list(scan_records(folder)[0].values())


def whole_records(folder: Path) -> list[Record]:
    """List the finished items of a folder whose files are all whole, for those that read them.

    Raises InputError that names a file that was cut short since it was written.
    """
    records, torn = scan_records(folder)
    if torn:
        raise InputError(
            f"expected whole files, got {folder / torn[0]} cut short; see what diffumask verify "
            f"{folder} says"
        )
    return list(records.values())


def scan_records(
    folder: Path, listed: Mapping[str, Record] | None = None
) -> tuple[dict[str, Record], list[str]]:
    """Return what `read_records` does, by item name, and the paths of files that are cut short.

    `listed` is what `listed_records` gave, if that was called already.
    """
    records, torn = {}, []
    with _collector_paused():
        found = found_files(folder)
        for name, record in (listed_records(folder) if listed is None else listed).items():
            paths = file_paths(name)
            cut = _torn_files(folder, paths, record, found)
            torn += cut
            if not cut and paths[IMAGE] in found and paths[MASK] in found:
                records[name] = record
    return records, torn


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare new objects, of which none is garbage, from being looked through again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def listed_records(folder: Path) -> dict[str, Record]:
    """Read the lines of metadata.jsonl that are of items, by item name, whatever their files.

    Raises as `read_records`.
    """
    trees: dict[str, Any] = {}
    for file_name in (JOURNAL_FILE, METADATA_FILE):  # what is in both may have been annotated since
        for line in read_text(folder, file_name).split("\n"):
            tree = _parsed(line)
            name = named_item(tree)
            if name is not None:
                trees[name] = tree
    return {name: _record(folder, name, tree) for name, tree in trees.items()}


def _record(folder: Path, name: str, tree: Any) -> Record:
    try:
        return Record.from_json(tree)
    except InputError as error:
        raise InputError(
            f"{error} in the line of {name} in {folder / METADATA_FILE}; see what diffumask "
            f"verify {folder} says"
        ) from error


def found_files(folder: Path) -> dict[str, int]:
    """Return the bytes of each file in the folders of items, by its path in the dataset."""
    return {
        f"{part}/{name}": size
        for part in (IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER)
        for name, size in file_sizes(folder / part).items()
    }


def present_files(folder: Path, record: Record) -> list[str]:
    """Return the paths of the files of an item, with that of its heat maps if they were kept."""
    kept = has_maps(folder, record)
    return [path for kind, path in file_paths(record.name).items() if kind != MAPS or kept]


def has_maps(folder: Path, record: Record) -> bool:
    """Tell whether the heat maps of an item were kept in the folder."""
    path = folder / file_paths(record.name)[MAPS]
    is_out = path.parent.is_symlink() or (path.is_symlink() and leads_out(folder, path))
    return path.is_file() and not is_out


def _torn_files(
    folder: Path, paths: Mapping[str, str], record: Record, found: Mapping[str, int]
) -> list[str]:
    """Return the paths of those `found` files of an item that were cut short."""
    return [
        path
        for kind, path in paths.items()
        if path in found and is_torn(folder, path, found[path], record.files.get(kind))
    ]


def parse_line(line: str) -> Record | None:
    """Read a line of metadata.jsonl; None for one that names no files in the folder.

    Raises InputError for an item of which it tells something else than a `Record` does.
    """
    tree = _parsed(line)
    return None if named_item(tree) is None else Record.from_json(tree)


def names_item(line: str) -> bool:
    """Tell whether a line of metadata.jsonl names files in the folder, whatever else it tells."""
    return named_item(_parsed(line)) is not None


def _parsed(line: str) -> Any:
    try:
        return parse(line)
    except ValueError:
        return None
