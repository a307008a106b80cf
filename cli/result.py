"""What a command tells: text to people, facts to programs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """The text and the facts of what a command did.

    `folder` is one that it made in our own format: the options are kept there.
    """

    text: str
    facts: Mapping[str, Any]
    folder: Path | None = None
    exit_code: int = 0

    def __str__(self) -> str:
        return self.text

    def to_json(self, command: str) -> str:
        """Return the facts as one JSON object on a line."""
        return json.dumps({"command": command, **self.facts}, default=os.fspath, ensure_ascii=False)
