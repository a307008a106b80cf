"""Images and masks in parquet, as `datasets` and the hub keep them."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffumask import extra
from diffumask.errors import InputError

KEPT_GROUPS = 4  # columns of row groups that are held at a time
MAX_GROUP_BYTES = 2**30
NEEDED = ("name", "image", "mask")


def list_rows(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each row, its row group and its place in that; no image is read.

    Raises InputError for what is no parquet, for files without the columns name, image and mask,
    and for row groups of more than 1 GiB.
    """
    file = _opened(path)
    missing = [one for one in NEEDED if one not in file.schema_arrow.names]
    if missing:
        raise InputError(
            f"expected the columns {', '.join(NEEDED)} in {path}, got none named {missing[0]}; "
            "export the dataset again"
        )
    for group in range(file.num_row_groups):
        if file.metadata.row_group(group).total_byte_size > MAX_GROUP_BYTES:
            raise InputError(
                f"expected row groups of at most {MAX_GROUP_BYTES} bytes in {path}, got a larger "
                "one; write smaller ones"
            )
        names = _column(path, _stamp(path), group, "name")
        yield from ((str(name), group, row) for row, name in enumerate(names))


def read_cell(path: Path, group: int, column: str, row: int) -> bytes:
    """Return the bytes of an image. Raises InputError for a row without."""
    cell = _column(path, _stamp(path), group, column)[row].as_py()
    content = cell.get("bytes") if isinstance(cell, dict) else None
    if not isinstance(content, bytes):
        raise InputError(
            f"expected the bytes of an image in the column {column} of {path}, got none; embed "
            "the images"
        )
    return content


@lru_cache(KEPT_GROUPS)
def _column(path: Path, stamp: int, group: int, column: str) -> Any:
    """Read a column of a row group; `stamp` tells a file from an earlier one of its name."""
    return _arrow(path, lambda file: file.read_row_group(group, columns=[column]).column(column))


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"expected parquet in {path}, got {error.strerror}") from error


def _opened(path: Path) -> Any:
    return _arrow(path, lambda file: file)


def _arrow(path: Path, read: Any) -> Any:
    arrow, parquet = extra.load("pyarrow"), extra.load("pyarrow.parquet")
    try:
        return read(parquet.ParquetFile(path))
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise InputError(
            f"expected parquet in {path}, got {reason}; replace it or take it out"
        ) from error
