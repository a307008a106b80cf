"""Prompts of the user's own, from a file of lines (.txt), a table (.csv) or records (.jsonl)."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.types import Prompt, Target

from .classes import Classes
from .vocabulary import VocabularyClass
from .words import spans

SEPARATOR = ";"  # of several classes in a cell of a table


def read_prompts(path: Path, classes: Classes, names: Sequence[str]) -> list[Prompt]:
    """Read the prompts of a file, in its order; empty lines do not count.

    `names` are the classes that the lines of a .txt file are searched for; a table and records
    name theirs. Raises InputError with file and line for what is not as it should be.
    """
    if path.suffix not in (".txt", ".csv", ".jsonl"):
        raise InputError(f"expected a file of prompts .txt, .csv or .jsonl, got {str(path)!r}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"expected a file of prompts, got {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: expected text in UTF-8, got {error.reason}") from error
    if path.suffix == ".txt" and not names:
        raise InputError("expected classes beside a .txt file of prompts, got none; name the words")
    entries = [*classes.find_all(names).values()] if path.suffix == ".txt" else []
    prompts = []
    for number, row in _rows(path, text):
        try:
            prompts.append(_prompt(row, classes, entries))
        except InputError as error:
            raise InputError(f"{path.name}:{number}: {error}") from error
    if not prompts:
        raise InputError(f"{path.name}: expected at least one prompt, got none")
    return prompts


def _rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line numbers and rows of whatever kind of file."""
    if path.suffix == ".csv":
        yield from _table(path, text)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row: Any = {"prompt": line}
        if path.suffix == ".jsonl":
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = line
            if not isinstance(row, dict):
                raise InputError(f"{path.name}:{number}: expected a JSON object, got {line[:40]!r}")
        yield number, row


def _table(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for needed in ("prompt", "class"):
            if needed not in (reader.fieldnames or ()):
                raise InputError(f"{path.name}:1: expected a column {needed!r} in the first line")
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path.name}:{reader.line_num}: expected {len(reader.fieldnames or ())} "
                    "columns, got another number; put quotes around text with commas"
                )
            names = [name.strip() for name in row["class"].split(SEPARATOR)]
            yield reader.line_num, row | {"class": names}
    except csv.Error as error:
        raise InputError(f"{path.name}:{reader.line_num}: expected a table: {error}") from error


def _prompt(row: Mapping[str, Any], classes: Classes, sought: Sequence[VocabularyClass]) -> Prompt:
    text = " ".join(_text(row, "prompt").split())
    if not text:
        raise InputError("expected a prompt, got none")
    targets = _sought(text, sought) if sought else _named(text, row, classes)
    names = [target.class_name for target in targets]
    words = [target.word.lower() for target in targets]
    if len(set(names)) < len(names) or len(set(words)) < len(words):
        raise InputError(f"expected each class and word once, got {', '.join(names)}")
    return Prompt(text, tuple(targets), _text(row, "sub_class"), _text(row, "context"))


def _sought(text: str, entries: Sequence[VocabularyClass]) -> list[Target]:
    """Find the classes that a text names, in its order; of overlapping names the longest counts."""
    found = sorted(
        (start - stop, start, stop, entry.name, entry.class_id)
        for entry in entries
        for alias in entry.sought
        for start, stop in spans(text, alias)
    )
    taken: dict[str, tuple[int, int, int]] = {}
    for _, start, stop, name, class_id in found:
        if name not in taken and all(stop <= a or b <= start for a, b, _ in taken.values()):
            taken[name] = (start, stop, class_id)
    if not taken:
        wanted = ", ".join(repr(entry.sought[0]) for entry in entries)
        raise InputError(f"expected {wanted} in the prompt, got {text!r}; name it in the text")
    in_order = sorted(taken.items(), key=lambda one: one[1])
    return [Target(text[start:stop], name, one) for name, (start, stop, one) in in_order]


def _named(text: str, row: Mapping[str, Any], classes: Classes) -> list[Target]:
    """Make the targets that a row names, by `targets` or else by `class`."""
    listed = row.get("targets")
    if listed is None:
        named = row.get("class") or ""
        listed = [{"class": name} for name in (named if isinstance(named, list) else [named])]
    if not isinstance(listed, list) or not listed:
        raise InputError(f"expected targets to be a list of objects, got {listed!r}")
    return [_target(text, one, classes) for one in listed]


def _target(text: str, one: Any, classes: Classes) -> Target:
    if not isinstance(one, dict) or not _text(one, "class").strip():
        raise InputError(f"expected a class, got {one!r}")
    entry = classes.find(one["class"], one.get("class_id"))
    words = [_text(one, "word")] if one.get("word") else list(entry.sought)
    for word in words:
        if word.strip() and (found := spans(text, word)):
            return Target(text[slice(*found[0])], entry.name, entry.class_id)
    raise InputError(
        f"expected the word {words[0]!r} of the class {entry.name!r} in the prompt, got {text!r}; "
        "name it in the text"
    )


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"expected {key} to be text, got {value!r}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"expected {key} in Unicode, got half a character in {value!r}")
    return value
