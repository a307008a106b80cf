"""The classes of known datasets, from class_tables.toml."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from diffumask.types import BACKGROUND_ID

from .mapping import MaskValues

CLASS_TABLES_FILE = "class_tables.toml"


@cache
def read_class_tables() -> Mapping[str, Mapping[str, Any]]:
    """Read the tables by the name of their dataset."""
    text = files("diffumask.labelled").joinpath(CLASS_TABLES_FILE).read_text("utf-8")
    return tomllib.loads(text)


@cache
def known_values(name: str) -> MaskValues:
    """Return what the values in the masks of a known dataset stand for."""
    table = read_class_tables()[name]
    names = {value: class_name for class_name, value in table.get("classes", {}).items()}
    background = frozenset(table.get("background", [BACKGROUND_ID]))
    return MaskValues(names or None, background, frozenset(table.get("ignored", [])))
