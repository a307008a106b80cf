"""The parquet of `datasets` and the hub: data/SPLIT-00000.parquet beside id2label.json."""

import re
from pathlib import Path

from diffumask.errors import InputError

from .listing import Listing, unknown_split
from .names import ID2LABEL_FILE, values_beside
from .pairs import PairFiles, Picture
from .parquet import list_rows

SHARD = re.compile(r"(.+?)-\d{5}(-of-\d{5})?")  # SPLIT-00000, with the number of shards or without


def hf(folder: Path, split: str | None) -> Listing:
    """List the rows of data/SPLIT-00000.parquet, whose masks id2label.json names the ids of."""
    shards: dict[str, list[Path]] = {}
    for path in parquet_files(folder):
        match = SHARD.fullmatch(path.stem)
        shards.setdefault(match[1] if match else path.stem, []).append(path)
    if split is not None and split not in shards:
        raise unknown_split(folder, split, sorted(shards))
    chosen = shards.values() if split is None else [shards[split]]
    paths = [path for of_split in chosen for path in of_split]
    pairs = [
        PairFiles(name, Picture(path, (group, "image", row)), Picture(path, (group, "mask", row)))
        for path in paths
        for name, group, row in list_rows(path)
    ]
    values = values_beside(folder)
    if values is None:
        raise InputError(f"expected {ID2LABEL_FILE} in {folder}, got none; export it again")
    return Listing(pairs, values)


def parquet_files(folder: Path) -> list[Path]:
    """List the parquet files of a folder."""
    return sorted((folder / "data").glob("*.parquet"))
