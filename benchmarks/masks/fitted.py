"""What was fitted on dev, for us and for peers alike: fitted.toml."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.files.atomic import write_file

FITTED = Path(__file__).with_name("fitted.toml")
FACTS = "fit"


@dataclass(frozen=True, slots=True)
class Fitted:
    """The best settings of each way; `facts` say of how many settings and items."""

    facts: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]


def read_fitted(path: Path = FITTED) -> Fitted:
    """Read what was fitted."""
    tables = tomllib.loads(path.read_text("utf-8"))
    return Fitted(tables.pop(FACTS), tables)


def write_fitted(fitted: Fitted, path: Path) -> None:
    """Write what was fitted."""
    lines = [
        "# Written by `python -m benchmarks fit_masks`: the best settings of those tried on dev."
    ]
    for name, values in {FACTS: fitted.facts, **fitted.settings}.items():
        lines += ["", f"[{json.dumps(name)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    write_file(path, "\n".join([*lines, ""]).encode())
