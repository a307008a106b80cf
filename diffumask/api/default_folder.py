"""Where a dataset goes unless its folder is named."""

import re
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


def default_folder(model: str, class_names: Sequence[str], shard: Shard) -> Path:
    """Name a folder after the model, the classes and the shard of a run."""
    more = f"-and-{len(class_names) - 1}-more" if len(class_names) > 1 else ""
    part = "" if shard == WHOLE else f"-shard-{shard.index}-of-{shard.count}"
    return DEFAULT_OUT / _free(model, "-model") / f"{_free(class_names[0], '-class')}{more}{part}"


def _free(name: str, ending: str) -> str:
    """Make a folder's name of another; one that no folder of Windows can have gets the ending."""
    stem = re.sub("[^A-Za-z0-9._-]+", "-", name).strip("-.") or ending[1:]
    return stem + ending if stem.partition(".")[0].lower() in RESERVED else stem
