"""TOML written: keys with texts, paths, numbers, and lists of these."""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from diffumask.errors import InputError


def to_toml(values: Mapping[str, Any]) -> str:
    """Write texts, paths, numbers, and lists of these. Raises InputError for what is no Unicode."""
    text = "".join(f"{key} = {_value(value)}\n" for key, value in values.items())
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError("expected options in Unicode, to be kept, got other names") from error
    return text


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    text = str(value) if isinstance(value, PurePath) else value
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
