"""A dataset copied to object storage, or sent to the hub."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from diffumask.articles import counted
from diffumask.errors import InputError

from .export import TRAIN_SHARE
from .new_folder import refuse_inside
from .option import Option, Options, StrPath
from .progress import log, progress
from .result import Result
from .use_case import use_case

HUB, LOCAL = "hf://", "file://"


@dataclass(frozen=True, kw_only=True)
class UploadOptions(Options):
    """The options of `upload`."""

    folder: Annotated[StrPath, Option("Dataset folder.", positional=True, read=True)]
    url: Annotated[
        str,
        Option(
            "Where to: s3://bucket/birds, gs://..., a folder, hf://datasets/OWNER/NAME.",
            positional=True,
        ),
    ]
    dry_run: Annotated[bool, Option("Tell what would be sent, and send nothing.")] = False
    licence: Annotated[
        str | None, Option("Licence of the dataset on the hub: cc-by-4.0, ...", default="unknown")
    ] = None
    private: Annotated[bool, Option("Make a new repository of the hub a private one.")] = False
    replace: Annotated[bool, Option("Replace files on the hub that differ.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url.startswith(HUB) and (self.licence or self.private or self.replace):
            raise InputError(
                "expected a licence, private or replace with hf://datasets/OWNER/NAME alone, got "
                f"it with {self.url!r}; leave it out"
            )
        if self.url.startswith(LOCAL) or "://" not in self.url:
            refuse_inside(self.url.removeprefix(LOCAL), self.folder)


@use_case(UploadOptions)
def upload(options: UploadOptions) -> Result[int]:
    """Copy a dataset to object storage, a folder or the hub.

    Run again for what is new since.

    The hub gets what `datasets.load_dataset` reads, with a dataset card, in one commit; a file
    there that differs stays, unless it may be replaced.

    Returns how many items were copied now; of the hub all, where any file was sent. Raises
    InputError for a folder that is no dataset, a place with something else or with other
    settings, and one that is out of reach.
    """
    return (_to_hub if options.url.startswith(HUB) else _to_storage)(options)


def _to_storage(options: UploadOptions) -> Result[int]:
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.upload import lacking, upload

    folder, url = Path(options.folder), options.url
    total = len(read_records(folder))
    facts = {"url": url, "items": total}
    if options.dry_run:
        items, sizes = lacking(folder, url)
        copied = f"{items} of {counted(total, 'item')} would be copied to {url}"
        text = f"{copied}: {_told(sizes)}; nothing was sent"
        return Result(0, text, {**facts, "copied": 0, "to_copy": items, **_sent(sizes)})
    with progress("copying", total) as advance:
        copied = upload(folder, url, advance)
    text = f"{counted(total, 'item')} in {url}, {copied} copied now"
    return Result(copied, text, {**facts, "copied": copied})


def _to_hub(options: UploadOptions) -> Result[int]:
    from diffumask.formats.hub_upload import (
        read_repository,
        refuse_others,
        repository_name,
        send,
        written_for,
    )
    from diffumask.formats.items import select

    name = repository_name(options.url)
    selection = select(Path(options.folder), TRAIN_SHARE, contiguous=True)
    total = len(selection)
    repository = read_repository(name, to_write=not options.dry_run)
    with progress("copying", total) as advance:
        advancing = replace(selection, advance=advance)
        with written_for(advancing, repository, options.licence) as (folder, sending):
            told = _told(sending.sizes)
            if not options.dry_run and not options.replace:
                refuse_others(sending, repository)
            if not options.dry_run and (sending.sizes or sending.left):
                log.info("sending %s to %s", told, options.url)
                send(folder, sending, repository, options.private)
    facts: dict[str, Any] = {"url": options.url, "items": total, **_sent(sending.sizes)}
    facts |= {"replaced": sending.changed, "removed": sending.left, "is_new": repository.is_new}
    if not options.dry_run:
        copied = total if sending.sizes else 0
        text = f"{counted(total, 'item')} in {options.url}, {told} sent now"
        return Result(copied, text, {**facts, "copied": copied})
    remarks = [
        f"{counted(total, 'item')} would go to {options.url}: {told}",
        "the repository is not there yet" if repository.is_new else "",
        f"others are there as {', '.join(sending.others)}" if sending.others else "",
        "nothing was sent",
    ]
    return Result(0, "; ".join(filter(None, remarks)), {**facts, "copied": 0})


def _sent(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {"files": list(sizes), "bytes": sum(sizes.values())}


def _told(sizes: Mapping[str, int]) -> str:
    return f"{counted(len(sizes), 'file')}, {sum(sizes.values()) / 1e6:.3g} MB"
