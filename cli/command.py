"""What all commands share: --config, --json, errors in one line, and how they tell a result."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from diffumask.errors import InputError

from .config_file import Option, kept_options, options_of, read_config, write_config
from .one_line import errors_in_one_line
from .result import Result

JSON_HELP = "Print the result as a JSON object."
CONFIG_HELP = "TOML file of options; those typed here count first."


def as_command(function: Callable[..., Result]) -> Callable[..., None]:
    """Give a command the options of all, and print its result.

    What the user can mend is one line on stderr. The options are kept in a folder that it makes.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())
    known = options_of(own)

    @wraps(function)
    def command(context: Any, config: Path | None, as_json: bool, **typed: Any) -> None:
        with errors_in_one_line():
            check_unicode(typed)
            with redirect_stdout(sys.stderr):  # whatever a library prints is no result
                result = function(**typed)
            name = _command_name(context)
            if result.folder is not None:
                out = {"out": result.folder} if typed.get("out", "") is None else {}
                write_config(result.folder, name, kept_options(known, typed | out))
        told = result.to_json(name) if as_json else result.text
        # Files in folders of others may be called what no terminal can show.
        typer.echo(told.encode("utf-8", "backslashreplace").decode())
        if result.exit_code:
            raise typer.Exit(result.exit_code)

    file = typer.Option("--config", help=CONFIG_HELP, callback=_reader(known), is_eager=True)
    shared = {
        "context": (typer.Context, inspect.Parameter.empty),
        "config": (Annotated[Path | None, file], None),
        "as_json": (Annotated[bool, typer.Option("--json", help=JSON_HELP)], False),
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [one.replace(kind=keyword) for one in own] + [
        inspect.Parameter(name, keyword, annotation=annotation, default=default)
        for name, (annotation, default) in shared.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def check_unicode(typed: Mapping[str, Any]) -> None:
    """Raise InputError for a text or path that is not UTF-8: what is made could not name it."""
    for one in typed.values():
        for value in one if isinstance(one, list | tuple) else [one]:
            text = os.path.abspath(value) if isinstance(value, Path) else value
            if isinstance(text, str) and not text.isascii() and not _is_utf8(text):
                raise InputError(f"expected names in UTF-8, got {value!r}; rename or move it")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reader(known: Mapping[str, Option]) -> Callable[..., Path | None]:
    """Make what lets the values of a file be the defaults of the options that are not typed."""

    def read(context: Any, path: Path | None) -> Path | None:
        if path is not None and not context.resilient_parsing:
            with errors_in_one_line():
                context.default_map = read_config(path, known)
        return path

    # Typer knows by this annotation what to pass, but its contexts need not be of the class.
    read.__annotations__["context"] = typer.Context
    return read


def _command_name(context: Any) -> str:
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(names)
