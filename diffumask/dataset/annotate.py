"""Change what the lines of a dataset tell of its items, and leave their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffumask.files.lock import locked

from .listing import scan_records
from .record import Record
from .run import read_run
from .store import prepared
from .writer import Store


def annotate(folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Set fields in the lines of items, by name, and leave all else as it is.

    Raises InputError for a folder that is no dataset, that another run writes to or that cannot
    be written; KeyError for an item that is not there.
    """
    run = read_run(folder)
    with locked(folder):
        records, torn = scan_records(folder)
        for name, fields in facts.items():
            records[name] = records[name].changed(fields)
        with prepared(Store(folder, records), run, torn):
            pass


def replace_records(folder: Path, records: Sequence[Record]) -> None:
    """List these items and no others in a folder that the caller holds by `locked`.

    Raises as `annotate`.
    """
    store = Store(folder, {record.name: record for record in records})
    with prepared(store, read_run(folder)):
        pass
