"""marks.json: what a person accepted and rejected on the page of a dataset.

{"format": 1, "made_by": "diffumask show", "dataset": "0123456789abcdef",
 "marks": {"Bird_000003": "rejected", "Bird_000012": "accepted"}}
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.errors import InputError

FORMAT = 1
MADE_BY = "diffumask show"
ACCEPTED, REJECTED = "accepted", "rejected"
MAX_BYTES = 64 * 2**20  # two million marks; a file of others that is larger is not read


def dataset_fingerprint(settings: Mapping[str, Any]) -> str:
    """Tell datasets apart, whose items have the same names, by the settings in run.json."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def read_marks(path: Path, folder: Path) -> dict[str, str]:
    """Read the mark, ACCEPTED or REJECTED, of each marked item of a dataset by its name.

    Raises InputError for a file of something else, marks of another dataset, and marks of items
    that the dataset lacks.
    """
    raw = _read_json(path)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or raw.get("made_by") != MADE_BY:
        raise InputError(
            f"expected marks of {MADE_BY} in format {FORMAT}, got {path} with something else"
        )
    marks = raw.get("marks")
    if not isinstance(marks, dict) or not set(map(repr, marks.values())) <= {
        repr(ACCEPTED),
        repr(REJECTED),
    }:
        raise InputError(
            f"expected {path} to say {ACCEPTED!r} or {REJECTED!r} of each item, got something "
            "else; export the marks again"
        )
    if raw.get("dataset") != dataset_fingerprint(read_run(folder).settings):
        raise InputError(
            f"expected marks of {folder}, got {path} with those of a dataset of other settings; "
            f"mark the items on a page of {MADE_BY} {folder}"
        )
    unknown = set(marks) - {record.name for record in read_records(folder)}
    if unknown:
        raise InputError(f"expected marks of items in {folder}, got one of {min(unknown)!r}")
    return marks


def _read_json(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"expected a file of marks, got {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"expected marks of at most {MAX_BYTES} bytes, got a larger {path}")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected marks in JSON, got {path}: {error}") from error
