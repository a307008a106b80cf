"""Cut-offs by class from a file: TOML such as `bird = 0.92`, or JSON such as {"bird": 0.92}."""

import json
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from diffumask.errors import InputError

READERS: Mapping[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}


def read_cut_offs(path: Path, class_names: Collection[str]) -> dict[str, float]:
    """Read numbers in [0, 1] by class name; further classes than those of a dataset are refused.

    Raises InputError for anything else.
    """
    if path.suffix not in READERS:
        raise InputError(f"expected cut-offs in FILE.toml or FILE.json, got {path}")
    try:
        raw = READERS[path.suffix](path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"expected cut-offs by class in {path}, got {what}") from error
    if not isinstance(raw, dict) or not raw:
        raise InputError(f"expected cut-offs such as bird = 0.92 in {path}, got none")
    for name, value in raw.items():
        if name not in class_names:
            known = ", ".join(class_names)
            raise InputError(f"expected classes of the dataset ({known}) in {path}, got {name!r}")
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise InputError(f"expected a cut-off in [0, 1] for {name} in {path}, got {value!r}")
    return {name: float(value) for name, value in raw.items()}
