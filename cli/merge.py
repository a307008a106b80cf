"""`diffumask merge`: one dataset of the shards of a run."""

from collections.abc import Sequence
from pathlib import Path

from diffumask.errors import InputError

from .progress import progress
from .result import Result


def run(folders: Sequence[Path], out: Path, copy: bool) -> Result:
    """Merge the folders, and return a line that says where, and which shards are missing.

    Raises InputError for folders that do not belong together, and for one that is `out` as well.
    """
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.merge import merge, merged_run, missing_shards
    from diffumask.dataset.parts import PREVIEW_FILE
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store

    if out.resolve() in {folder.resolve() for folder in folders}:
        raise InputError(f"expected another folder for the merged dataset, got {out}; choose one")
    settings, classes, notes = merged_run(folders)
    total = sum(len(read_records(folder)) for folder in folders)
    with open_store(out, settings, classes, *notes) as store:
        with progress(total, min(total, len(store.records))) as advance:
            for added in merge(folders, store, copy):
                advance(added)
        write_preview(store)
        count = len(store.records)
    lacking = list(map(str, missing_shards(folders)))
    missing = ", ".join(lacking)
    remark = f", without the shards {missing}" if missing else ""
    facts = {"folder": out, "items": count, "missing_shards": lacking}
    text = f"{count} items in {out}{remark}; look at {out / PREVIEW_FILE}"
    return Result(text, facts, folder=out)
