"""Check a dataset folder against what was written, and set aside what is broken."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from diffumask.cores import n_cores
from diffumask.errors import InputError
from diffumask.files.atomic import writing
from diffumask.files.inside import read_text
from diffumask.files.json_kinds import parse
from diffumask.files.lock import locked
from diffumask.types import BACKGROUND_ID, IGNORE_ID

from .annotate import replace_records
from .check import CheckedItem, Problem, check_files
from .listing import parse_line
from .names import IMAGES_FOLDER, ITEM_NAME, MAPS_FOLDER, MASKS_FOLDER, file_paths, item_paths
from .parts import JOURNAL_FILE, METADATA_FILE
from .quarantine import quarantine
from .record import Record
from .run import read_run

CHECKED_AHEAD = 256


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: all problems, and the records of the items that are whole.

    `quarantine` is the folder that a repair moved files to, None where it moved none.
    """

    problems: tuple[Problem, ...]
    whole: tuple[Record, ...]
    quarantine: Path | None = None


def verify(
    folder: Path, accept: bool = False, checked: Callable[[int], None] = lambda _: None
) -> Report:
    """Check every line and every file of a dataset to which nothing writes; change nothing.

    With `accept` a file that was changed but fits is none of the problems, and its record gets a
    new checksum. `checked` is told how many items were checked since it was last called. Raises
    InputError for a folder without a whole run.json.
    """
    classes = read_run(folder).classes
    present = _present(folder)  # before the lines, as files are written first
    records, problems = _read_lines(folder, classes)
    labels = {BACKGROUND_ID, IGNORE_ID, *classes.values()}
    whole = []
    for result in _in_threads(partial(check_files, folder, labels, accept), records.values()):
        problems += result.problems
        if result.record is not None:
            whole.append(result.record)
        checked(1)
    listed = {path for name in records for path in file_paths(name).values()}
    problems += [_unlisted(path) for path in sorted(present - listed)]
    return Report(tuple(problems), tuple(whole))


def repair(
    folder: Path, accept: bool = False, checked: Callable[[int], None] = lambda _: None
) -> Report:
    """Check as `verify`, list the whole items alone, and move files of others to .broken.

    Nothing is deleted: an earlier metadata.jsonl is copied there too. Raises InputError as
    `verify`, and where another run writes to the folder or it cannot be written.
    """
    read_run(folder)
    with locked(folder):
        report = verify(folder, accept, checked)
        kept = {path for record in report.whole for path in file_paths(record.name).values()}
        moved = sorted({path for problem in report.problems for path in problem.paths} - kept)
        with writing(folder):
            copies = [METADATA_FILE] if report.problems else []
            moved_to = quarantine(folder, moved, copies)
        replace_records(folder, report.whole)
    return Report(report.problems, report.whole, moved_to)


def count_listed(folder: Path) -> int:
    """Count the lines of metadata.jsonl."""
    return read_text(folder, METADATA_FILE).count("\n")


def _in_threads(
    check: Callable[[Record], CheckedItem], records: Iterable[Record]
) -> Iterator[CheckedItem]:
    rest = iter(records)
    with ThreadPoolExecutor(n_cores()) as pool:
        while ahead := list(islice(rest, CHECKED_AHEAD)):
            yield from pool.map(check, ahead)


def _present(folder: Path) -> set[str]:
    """List everything in the folders of items, folders and links too."""
    parts = [
        part for part in (IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER) if (folder / part).is_dir()
    ]
    return {f"{part}/{name}" for part in parts for name in os.listdir(folder / part)}


def _unlisted(path: str) -> Problem:
    return Problem(path, f"expected a line of {METADATA_FILE} that names it, got none", (path,))


def _read_lines(
    folder: Path, classes: Mapping[str, int]
) -> tuple[dict[str, Record], list[Problem]]:
    """Return the records that can be read, the last of each item, and what is wrong with lines."""
    records: dict[str, Record] = {}
    problems = []
    lines = Counter()
    for file_name in (JOURNAL_FILE, METADATA_FILE):
        text = read_text(folder, file_name)
        for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
            where = f"{file_name}:{number}"
            record, wrong = _read_line(line, classes)
            problems += [Problem(where, message) for message in wrong]
            if record is None:
                continue
            name = record.name
            lines[file_name, name] += 1
            if lines[file_name, name] > 1:
                problems.append(Problem(where, f"expected one line of {name}, got another"))
            records[name] = record
    return records, problems


def _read_line(line: str, classes: Mapping[str, int]) -> tuple[Record | None, list[str]]:
    """Return the record of a line, None where its item cannot be used, and what is wrong."""
    try:
        record = parse_line(line)
    except InputError as error:
        return None, [str(error)]
    if record is None:
        return None, [_why_no_record(line)]
    ids = {target.class_name: target.class_id for target in record.prompt.targets}
    known = {name: classes.get(name) for name in ids}
    if known != ids:
        return None, [f"expected the class ids of run.json, {known}, got {ids}"]
    return record, []


def _why_no_record(line: str) -> str:
    try:
        record: Any = parse(line)
    except ValueError as error:
        return f"expected a JSON object, got {line[:40]!r}: {error}"
    file_name = record.get("file_name") if isinstance(record, dict) else None
    if not isinstance(file_name, str):
        return f"expected an object with file_name, got {line[:40]!r}"
    name = Path(file_name).stem
    if not ITEM_NAME.fullmatch(name):
        return f"expected an item such as images/Bird_000012.png, got {file_name[:80]!r}"
    paths = item_paths(name)
    got = {key: record.get(key) for key in paths}
    return f"expected files of the item in the folder, {paths}, got {got}"
