"""Images with captions: a folder, and a file that says what each image shows."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.dataset.parts import RUN_FILE, check_parts
from diffumask.errors import InputError
from diffumask.files.inside import leads_out
from diffumask.files.json_kinds import is_unicode

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
METADATA_FILES = ("metadata.jsonl", "metadata.csv")  # as `datasets` names them in an imagefolder
NAME_KEY = "file_name"
TEXT_KEYS = ("text", "caption", "prompt")


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image file, its path below the folder, and what it shows."""

    name: str
    path: Path
    caption: str


def read_captioned(folder: Path, captions: Path | None = None) -> list[Captioned]:
    """List the images of a folder with their captions, by name; no image is read yet.

    A .txt has a line for each image, in the order of their names; a .csv or .jsonl has `file_name`,
    the path below the folder, and `text`, `caption` or `prompt`. Without a file it is the
    metadata.jsonl or metadata.csv of the folder, as in a dataset of `diffumask generate`.
    Raises InputError for an image without caption (beside one that has), a caption without image,
    two captions of an image, an empty one, and a file or folder that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of images, got {str(folder)!r}")
    there = (folder / name for name in METADATA_FILES)
    path = captions or next((one for one in there if one.is_file()), None)
    if path is None:
        raise InputError(
            f"expected {METADATA_FILES[0]} in {folder}, got none; name a file of captions"
        )
    found = (one for one in folder.rglob("*") if one.suffix.lower() in IMAGE_SUFFIXES)
    images = {one.relative_to(folder).as_posix(): one for one in found}
    if (folder / RUN_FILE).exists():  # a dataset, of which no part is elsewhere
        check_parts(folder)
        images = {name: one for name, one in images.items() if not leads_out(folder, one)}
    text = _read(path)
    if path.suffix == ".txt":
        texts = _by_order(path, text, sorted(images))
    else:
        texts = _by_name(path, _rows(path, text))
    _check(folder, path, images, texts)
    return [Captioned(name, images[name], texts[name]) for name in sorted(texts)]


def _read(path: Path) -> str:
    if path.suffix not in (".txt", ".csv", ".jsonl"):
        raise InputError(f"expected captions in a .txt, .csv or .jsonl, got {str(path)!r}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise InputError(f"expected a file of captions, got {path}: {reason}") from error


def _by_order(path: Path, text: str, names: Sequence[str]) -> dict[str, str]:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if len(lines) != len(names):
        raise InputError(
            f"expected a line for each of {len(names)} images in {path}, got {len(lines)}"
        )
    return dict(zip(names, lines, strict=True))


def _rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line numbers and rows."""
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            yield from ((reader.line_num, row) for row in reader)
        except csv.Error as error:
            raise InputError(f"{path.name}:{reader.line_num}: expected a table: {error}") from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            row = line
        if row is not None and not isinstance(row, dict):
            raise InputError(f"{path.name}:{number}: expected a JSON object, got {line[:40]!r}")
        if row is not None:
            yield number, row


def _by_name(path: Path, rows: Iterator[tuple[int, Mapping[str, Any]]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, row in rows:
        name = row.get(NAME_KEY)
        text = next((row[key] for key in TEXT_KEYS if isinstance(row.get(key), str)), "")
        if not isinstance(name, str) or not text.strip() or not is_unicode(text):
            raise InputError(
                f"{path.name}:{number}: expected {NAME_KEY} and {' or '.join(TEXT_KEYS)}, "
                f"got {', '.join(str(key) for key, value in row.items() if value) or 'nothing'}"
            )
        if name in texts:
            raise InputError(f"{path.name}:{number}: expected one caption of {name}, got two")
        texts[name] = " ".join(text.split())
    return texts


def _check(folder: Path, path: Path, images: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    lonely = sorted(set(texts) - set(images))
    if lonely:
        raise InputError(f"expected an image for each caption, got no {lonely[0]} in {folder}")
    if not texts:
        raise InputError(f"expected captions in {path}, got none")
    # Images elsewhere in the folder, such as the masks of a dataset, need none.
    parents = {Path(name).parent for name in texts}
    without = sorted(n for n in set(images) - set(texts) if Path(n).parent in parents)
    if without:
        raise InputError(f"expected a caption for each image in {path}, got none for {without[0]}")
