"""Where a dataset goes unless its folder is named."""

from collections.abc import Sequence
from pathlib import Path

from diffumask.dataset.shards import WHOLE, Shard

DEFAULT_OUT = Path("diffumask-out")
# No folder of Windows can have these names.
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{i}" for port in ("com", "lpt") for i in range(10)),
}


def default_folder(class_names: Sequence[str], shard: Shard) -> Path:
    """Name a folder after the classes and the shard of a run."""
    from diffumask.dataset.names import file_stem

    more = f"-and-{len(class_names) - 1}-more" if len(class_names) > 1 else ""
    part = "" if shard == WHOLE else f"-shard-{shard.index}-of-{shard.count}"
    stem = file_stem(class_names[0])
    if stem.lower() in RESERVED:
        stem += "-class"
    return DEFAULT_OUT / f"{stem}{more}{part}"
