"""Check the files of one item against its record."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from diffumask.errors import InputError
from diffumask.files.inside import read_inside
from diffumask.files.pictures import PNG, opened

from .checksums import FILES, Stamp, is_torn, stamp
from .names import IMAGE, MAPS, MASK, file_paths
from .record import Record

MODES = {IMAGE: ("RGB",), MASK: ("P", "L")}  # of Pillow
MISSING = "expected a file, got none"
CHANGED = "expected the file as it was written, got other content; accept it if it is yours"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a file or a line, and the paths that a repair sets aside for it."""

    where: str
    message: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """What is wrong with an item, and its record, None if the item is broken."""

    problems: tuple[Problem, ...]
    record: Record | None


def check_files(folder: Path, labels: Collection[int], accept: bool, record: Record) -> CheckedItem:
    """Read all files of an item; `labels` are those that its mask may have.

    With `accept` files that were changed but fit are taken, and the record gets their checksums.
    Heat maps that are missing leave the item whole.
    """
    wrong: dict[str, str] = {}
    arrays: dict[str, np.ndarray] = {}
    stamps: dict[str, Stamp] = {}
    for kind, path in file_paths(record.name).items():
        expected = record.files.get(kind)
        if kind == MAPS and expected is None:
            continue
        try:
            content = _read(folder, path, expected)
            arrays |= _decode(kind, content)
        except InputError as error:
            wrong[kind] = str(error)
            continue
        stamps[kind] = stamp(content)
        if expected not in (None, stamps[kind]) and not accept:
            wrong[kind] = CHANGED
    return _result(record, wrong | _misfit(arrays, labels), stamps if accept else None)


def _result(
    record: Record, wrong: Mapping[str, str], stamps: Mapping[str, Stamp] | None
) -> CheckedItem:
    paths = file_paths(record.name)
    if wrong == {MAPS: MISSING}:
        rest = {kind: kept for kind, kept in record.files.items() if kind != MAPS}
        return CheckedItem(
            (Problem(paths[MAPS], MISSING),), record.changed({FILES: stamps or rest})
        )
    if wrong:
        files = tuple(paths.values())
        problems = (Problem(paths[kind], message, files) for kind, message in wrong.items())
        return CheckedItem(tuple(problems), None)
    return CheckedItem((), record if stamps is None else record.changed({FILES: stamps}))


def _read(folder: Path, path: str, expected: Stamp | None) -> bytes:
    try:
        content = read_inside(folder, path)
    except FileNotFoundError:
        raise InputError(MISSING) from None
    except OSError as error:
        raise InputError(f"expected a file in the folder, got {error.strerror}") from None
    if expected is not None and is_torn(folder, path, len(content), expected):
        raise InputError(f"expected {expected['bytes']} bytes, got {len(content)}: it is cut short")
    return content


def _decode(kind: str, content: bytes) -> dict[str, np.ndarray]:
    """Return the pixels of an image or a mask; nothing for heat maps, which are only read."""
    try:
        if kind == MAPS:
            load(content)
            return {}
    except SafetensorError:
        raise InputError("expected a whole safetensors file, got damaged content") from None
    try:
        with opened(content, PNG) as picture:
            mode, pixels = picture.mode, np.array(picture)
    except InputError:
        raise InputError("expected a whole PNG, got damaged content") from None
    if mode not in MODES[kind]:
        raise InputError(f"expected a PNG of {' or '.join(MODES[kind])}, got {mode}")
    return {kind: pixels}


def _misfit(arrays: Mapping[str, np.ndarray], labels: Collection[int]) -> dict[str, str]:
    """Tell what is wrong with a mask that could be read."""
    if MASK not in arrays:
        return {}
    mask = arrays[MASK]
    if IMAGE in arrays and arrays[IMAGE].shape[:2] != mask.shape:
        h, w = arrays[IMAGE].shape[:2]
        return {
            MASK: f"expected the size of the image, {h}x{w}, got {'x'.join(map(str, mask.shape))}"
        }
    unknown = sorted(set(np.unique(mask).tolist()) - set(labels))
    if unknown:
        known = ", ".join(map(str, sorted(labels)))
        return {MASK: f"expected labels of {known}, got {unknown[0]}"}
    return {}
