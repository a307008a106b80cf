"""A dataset copied to object storage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .option import Option, Options, StrPath
from .progress import progress
from .result import Result
from .use_case import use_case


@dataclass(frozen=True, kw_only=True)
class UploadOptions(Options):
    """The options of `upload`."""

    folder: Annotated[StrPath, Option("Dataset folder.", positional=True)]
    url: Annotated[str, Option("Where to: s3://bucket/birds, gs://..., a folder.", positional=True)]


@use_case(UploadOptions)
def upload(options: UploadOptions) -> Result[int]:
    """Copy a dataset to object storage; run again to copy what is new since.

    Returns how many items were copied now. Raises InputError for a folder that is no dataset, a
    place with something else or with other settings, and one that is out of reach.
    """
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.upload import upload

    folder = Path(options.folder)
    total = len(read_records(folder))
    with progress(total) as advance:
        copied = upload(folder, options.url, advance)
    facts = {"url": options.url, "items": total, "copied": copied}
    return Result(copied, f"{total} items in {options.url}, {copied} of them copied now", facts)
