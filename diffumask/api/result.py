"""What a use case gives: a value to Python, text to people, facts to programs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

Value = TypeVar("Value", covariant=True)


@dataclass(frozen=True, slots=True)
class Result(Generic[Value]):
    """The value, the text and the facts of what a use case did.

    `folder` is one that it made in our own format: a command keeps its options there, unless all
    was there already and nothing `is_new`. The exit code is that of the command.
    """

    value: Value
    text: str
    facts: Mapping[str, Any]
    folder: Path | None = None
    exit_code: int = 0
    is_new: bool = True

    def to_json(self, command: str) -> str:
        """Return the facts as one JSON object on a line."""
        return json.dumps({"command": command, **self.facts}, default=os.fspath, ensure_ascii=False)


def look_at(folder: Path) -> str:
    """Name the contact sheet of a dataset at the end of a line, if it has one."""
    from diffumask.dataset.parts import PREVIEW_FILE

    sheet = folder / PREVIEW_FILE
    return f"; look at {sheet}" if sheet.is_file() else ""


def printable(text: str) -> str:
    """Replace what ends a line or steers a terminal, as names in files of others may."""
    return "".join(one if one.isprintable() else " " for one in text)
