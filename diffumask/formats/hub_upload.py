"""A dataset sent to the hub of Hugging Face, in one commit, as `datasets.load_dataset` reads it."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.errors import InputError, in_one_line
from diffumask.files.atomic import writing
from diffumask.files.partial import partial_folder

from .hub import write_hub
from .items import Selection

URL = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)/?")
KIND = "dataset"
SHARD = re.compile(r"data/(train|validation)-\d{5}\.parquet")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of datasets: its files by path, and its last commit, None where it is not."""

    name: str
    files: Mapping[str, Any]
    commit: str | None

    @property
    def is_new(self) -> bool:
        """Whether there is no such repository yet, or none that the token may see."""
        return self.commit is None


@dataclass(frozen=True, slots=True)
class Sending:
    """The files that a repository lacks or has otherwise, with their bytes, by path.

    Those `changed` are there with another content; `left` are shards that it has beyond ours.
    """

    sizes: Mapping[str, int]
    changed: list[str]
    left: list[str]

    @property
    def others(self) -> list[str]:
        """Paths there that differ: sending replaces or removes them."""
        return [*self.changed, *self.left]


def repository_name(url: str) -> str:
    """Return OWNER/NAME of hf://datasets/OWNER/NAME. Raises InputError for another address."""
    found = URL.fullmatch(url)
    if found is None:
        raise InputError(f"expected hf://datasets/OWNER/NAME, got {url!r}")
    return found[1]


def read_repository(name: str, to_write: bool) -> Repository:
    """Look at a repository of the hub.

    Raises InputError without a token where it is `to_write`, and for a hub that is out of reach.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    with _reaching(name):
        if to_write:
            api.whoami()
        try:
            commit = api.repo_info(name, repo_type=KIND).sha
            tree = list(api.list_repo_tree(name, repo_type=KIND, recursive=True, revision=commit))
        except RepositoryNotFoundError:
            return Repository(name, {}, None)
    return Repository(name, {one.path: one for one in tree if isinstance(one, RepoFile)}, commit)


@contextmanager
def written_for(
    selection: Selection, repository: Repository, licence: str | None
) -> Iterator[tuple[Path, Sending]]:
    """Write the files in a hidden folder beside the dataset; give it, and what is to be sent."""
    beside = selection.source.folder.resolve().parent
    with writing(beside), partial_folder(beside) as folder:
        write_hub(selection, folder, False, repository.name, licence)
        yield folder, _compare(folder, repository.files)


def refuse_others(sending: Sending, repository: Repository) -> None:
    """Raise InputError for files there that would be replaced or removed."""
    if sending.others:
        raise InputError(
            f"expected no other files in {repository.name} on the hub, got {sending.others[0]!r} "
            f"that differs ({len(sending.others)} in all); have them replaced, or choose another "
            "name"
        )


def send(folder: Path, sending: Sending, repository: Repository, private: bool) -> None:
    """Send the files in one commit, which others see whole; the repository is made if need be.

    Raises InputError where that fails, after which the files there are as they were.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    from diffumask.models import progress_bars_off

    api, name = HfApi(), repository.name
    with _reaching(name), progress_bars_off():
        if repository.is_new:
            api.create_repo(name, repo_type=KIND, private=private or None)
        added = [CommitOperationAdd(path, str(folder / path)) for path in sending.sizes]
        removed = [CommitOperationDelete(path) for path in sending.left]
        api.create_commit(
            name,
            [*added, *removed],
            commit_message="Upload images with masks by diffumask",
            repo_type=KIND,
            parent_commit=repository.commit,
        )


def _compare(folder: Path, there: Mapping[str, Any]) -> Sending:
    here = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    lacking = {name: path for name, path in here.items() if not _is_there(path, there.get(name))}
    return Sending(
        {name: path.stat().st_size for name, path in lacking.items()},
        [name for name in lacking if name in there],
        sorted(name for name in there if SHARD.fullmatch(name) and name not in here),
    )


def _is_there(path: Path, entry: Any) -> bool:
    """Tell by the hash that the hub keeps of a file whether it has this content."""
    if entry is None or entry.size != path.stat().st_size:
        return False
    if entry.lfs is not None:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content  # as git hashes a file
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == entry.blob_id


@contextmanager
def _reaching(name: str) -> Iterator[None]:
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        yield
    except LocalTokenNotFoundError:
        raise InputError(
            f"expected a token of the hub to write to {name}, got none; log in by hf auth login, "
            "or set HF_TOKEN"
        ) from None
    except Exception as error:  # any kind: its client lets errors of its HTTP library through
        reason = in_one_line(getattr(error, "server_message", None) or error)
        raise InputError(
            f"expected to reach {name} on the hub, got: {reason}; check the name, the rights of "
            "your token and the connection"
        ) from error
