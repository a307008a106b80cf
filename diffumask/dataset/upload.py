"""Copy a dataset folder to object storage or whatever else fsspec reaches (s3://, gs://, ...)."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from diffumask.errors import InputError, in_one_line
from diffumask.files.inside import read_inside
from diffumask.files.json_kinds import parse

from .listing import present_files, read_records
from .parts import METADATA_FILE, PREVIEW_FILE, RUN_FILE
from .record import Record
from .run import Run, read_run

AT_ONCE = 256
MD5 = re.compile("[0-9a-f]{32}")

Info = Mapping[str, Any]


def upload(folder: Path, url: str, sent: Callable[[int], None] = lambda _: None) -> int:
    """Copy the items that the place lacks or has otherwise, then run.json and metadata.jsonl.

    Content decides: by the MD5 that the place tells, else, and where that differs, by reading the
    file there. As the lines come last, whoever reads the place finds every listed item whole; an
    upload that was cut short goes on. Nothing is deleted there. Returns the number of items copied,
    of which `sent` is told along the way. Raises InputError for a folder that is no dataset, a
    place with something else or with other settings, and one that is out of reach.
    """
    with _one_line(url):
        files, root, missing = _missing(folder, url, to_write=True)
        rest = iter(missing)
        while batch := list(islice(rest, AT_ONCE)):
            paths = [path for record in batch for path in present_files(folder, record)]
            for part in {path.partition("/")[0] for path in paths}:
                files.makedirs(f"{root}/{part}", exist_ok=True)
            files.put([str(folder / path) for path in paths], [f"{root}/{path}" for path in paths])
            sent(len(batch))
        for name in _last(folder):
            files.put_file(str(folder / name), f"{root}/{name}")
    return len(missing)


def lacking(folder: Path, url: str) -> tuple[int, dict[str, int]]:
    """Return how many items an upload would copy, and the bytes of each file; nothing is written.

    Raises InputError as `upload` does.
    """
    with _one_line(url):
        _, _, missing = _missing(folder, url, to_write=False)
    paths = [path for record in missing for path in present_files(folder, record)]
    return len(missing), {path: (folder / path).stat().st_size for path in [*paths, *_last(folder)]}


def _missing(folder: Path, url: str, to_write: bool) -> tuple[Any, str, list[Record]]:
    """Return the place, and the items that it lacks or has otherwise."""
    run, records = read_run(folder), read_records(folder)
    files, root = _opened(url, to_write)
    there = _listing(files, root)
    _refuse_others(files, root, there, run, url)
    with ThreadPoolExecutor() as pool:
        are_there = pool.map(lambda record: _is_there(folder, record, files, root, there), records)
        missing = [
            record for record, is_there in zip(records, are_there, strict=True) if not is_there
        ]
    return files, root, missing


def _last(folder: Path) -> list[str]:
    """List what an upload copies each time, after the items."""
    return [name for name in (RUN_FILE, PREVIEW_FILE, METADATA_FILE) if (folder / name).exists()]


@contextmanager
def _one_line(url: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise _missing_client(url, error) from None
    except Exception as error:  # any kind: clients let errors of their HTTP library through
        raise InputError(
            f"expected to write to {url}, got: {in_one_line(error)}; run again to go on"
        ) from error


def _missing_client(url: str, error: ImportError) -> InputError:
    """Say which package reaches a place, as fsspec knows it."""
    from fsspec.registry import known_implementations

    known = known_implementations.get(url.partition("://")[0], {}).get("class", "")
    package = known.partition(".")[0]
    if package in ("", "fsspec"):  # which needs another for it
        return InputError(f"expected a package that reaches {url}, got none: {error}; install it")
    wanted = "'diffumask[remote]'" if package == "s3fs" else package
    return InputError(
        f"expected the package {package} to reach {url}, got none; install it with: "
        f"pip install {wanted}"
    )


def _opened(url: str, to_write: bool) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise InputError(
            "expected fsspec for an upload, got none; install it with: "
            "pip install 'diffumask[remote]'"
        ) from None
    files, root = url_to_fs(url)
    if to_write:
        files.makedirs(root, exist_ok=True)
    return files, root.rstrip("/")


def _listing(files: Any, root: str) -> dict[str, Info]:
    """Return what the place tells of each of its files, by its path there."""
    files.invalidate_cache()
    found = files.find(root, detail=True)
    return {name[len(root) :].lstrip("/"): info for name, info in found.items()}


def _refuse_others(files: Any, root: str, there: Mapping[str, Info], run: Run, url: str) -> None:
    if RUN_FILE not in there:
        # Images of an upload that was cut short are there before run.json.
        foreign = [path for path in there if not path.startswith(("images/", "masks/", "maps/"))]
        if foreign:
            raise InputError(
                f"expected an empty place or one of diffumask, got {url} with {min(foreign)!r} in "
                "it; choose another"
            )
        return
    try:
        settings = Run.from_json(parse(files.cat_file(f"{root}/{RUN_FILE}"))).settings
    except ValueError as error:
        raise InputError(
            f"expected a {RUN_FILE} of diffumask in {url}, got another ({error}); choose another "
            "place"
        ) from error
    keys = {*settings, *run.settings}
    other = sorted(key for key in keys if settings.get(key) != run.settings.get(key))
    if other:
        raise InputError(
            f"expected a dataset of the same settings in {url}, got another {', '.join(other)}; "
            "choose another place"
        )


def _is_there(
    folder: Path, record: Record, files: Any, root: str, there: Mapping[str, Info]
) -> bool:
    """Tell whether the place has all files of an item as they are here."""
    for path in present_files(folder, record):
        if path not in there or there[path]["size"] != (folder / path).stat().st_size:
            return False
        content = read_inside(folder, path)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if _md5_of(there[path]) != md5 and files.cat_file(f"{root}/{path}") != content:
            return False
    return True


def _md5_of(info: Info) -> str | None:
    """Return the MD5 of a file as S3 or Google's storage tells it, None where it tells none.

    The ETag of S3 is something else for a file that came in parts, and for some that are encrypted.
    """
    if isinstance(packed := info.get("md5Hash"), str):
        return base64.b64decode(packed).hex()
    etag = str(info.get("ETag", "")).strip('"')
    return etag if MD5.fullmatch(etag) else None
