"""`diffumask upload`: copy a dataset to object storage."""

from pathlib import Path

from .progress import progress
from .result import Result


def run(folder: Path, url: str) -> Result:
    """Copy what the place lacks, and return a line that says where.

    Raises InputError as `diffumask.dataset.upload.upload` does.
    """
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.upload import upload

    total = len(read_records(folder))
    with progress(total, 0) as advance:
        copied = upload(folder, url, advance)
    facts = {"url": url, "items": total, "copied": copied}
    return Result(f"{total} items in {url}, {copied} of them copied now", facts)
