"""One dataset of the shards of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted
from diffumask.errors import InputError

from .option import Option, Options, StrPath
from .progress import progress
from .result import Result, look_at
from .use_case import use_case

if TYPE_CHECKING:
    from diffumask.api.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class MergeOptions(Options):
    """The options of `merge`."""

    shards: Annotated[
        Sequence[StrPath],
        Option("Folders of one run, a shard each.", positional=True, read=True),
    ]
    out: Annotated[StrPath, Option("Folder of the merged dataset.")]
    copy: Annotated[bool, Option("Copy files, where a hard link would do.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.out).resolve() in {Path(folder).resolve() for folder in self.shards}:
            raise InputError(
                f"expected another folder for the merged dataset, got {self.out}; choose one"
            )


@use_case(MergeOptions)
def merge(options: MergeOptions) -> "Result[Dataset]":
    """Merge the shards of a run to one dataset.

    It is the one that a single run would have made.

    Returns that dataset. Raises InputError for folders that do not belong together, and for one
    that is `out` as well.
    """
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.merge import merge, merged_run, missing_shards
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store

    from .dataset import open_dataset

    folders, out = [Path(folder) for folder in options.shards], Path(options.out)
    settings, classes, notes = merged_run(folders)
    total = sum(len(read_records(folder)) for folder in folders)
    with open_store(out, settings, classes, *notes) as store:
        with progress("merging", total, min(total, len(store.records))) as advance:
            for added in merge(folders, store, options.copy):
                advance(added)
        write_preview(store)
        count = len(store.records)
    missing = list(map(str, missing_shards(folders)))
    remark = f", without the shards {', '.join(missing)}" if missing else ""
    facts = {"folder": out, "items": count, "missing_shards": missing}
    text = f"{counted(count, 'item')} in {out}{remark}{look_at(out)}"
    return Result(open_dataset(out), text, facts, out)
