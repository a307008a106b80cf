"""Options of a command in a TOML file: read for --config, and kept in the folders it makes."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffumask.api.option import KINDS, OptionField
from diffumask.errors import InputError

CONFIG_FILE = "config.toml"
MARK = "# Options of diffumask "
MAX_BYTES = 2**20


def read_config(path: Path, known: Mapping[str, OptionField]) -> dict[str, Any]:
    """Read the values of a command's parameters, by the names of these.

    Raises InputError for a file that is no TOML, for unknown names, of which it names the nearest
    known one, and for values of another type.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"expected options of at most {MAX_BYTES} bytes, got a larger {path}")
        raw = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"expected a TOML file of options, got {path}: {error.strerror}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected options in TOML, got {path}: {error}") from error
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = key.replace("_", "-")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"expected options of this command in {path}, got {key!r}{hint}")
        if known[name].field in values:
            raise InputError(f"expected {name!r} once in {path}, got it with '-' and with '_'")
        values[known[name].field] = _checked(known[name], value, f"{key} in {path}")
    return values


def write_config(folder: Path, command: str, options: Mapping[str, Any]) -> None:
    """Keep options as config.toml, in place of those of an earlier run.

    A file of that name that is not ours stays. Raises InputError where it cannot be written.
    """
    from diffumask.files.atomic import write_file
    from diffumask.files.toml import to_toml

    path = folder / CONFIG_FILE
    if path.is_symlink() or (path.exists() and not (path.is_file() and _is_ours(path))):
        return
    content = f"{MARK}{command}: repeat it with --config.\n{to_toml(options)}".encode()
    write_file(path, content)


def kept_options(known: Mapping[str, OptionField], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call that have a value, by what a file calls them."""
    named = {name: values[one.field] for name, one in known.items()}
    return {name: value for name, value in named.items() if value not in (None, (), [])}


def _is_ours(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _checked(option: OptionField, value: Any, where: str) -> Any:
    kind = str if option.kind is Path else option.kind
    if option.is_list:
        listed = value if isinstance(value, list) else [value]
        return [_one(kind, item, where, "a list of ") for item in listed]
    return _one(kind, value, where, "")


def _one(kind: type, value: Any, where: str, listed: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str and is_number:  # as for --threshold 0.45
        return str(value)
    if kind is float and is_number:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"expected {listed}{KINDS[kind]} as {where}, got {value!r}")
    return value
