"""A use case as a command of Typer: its options, --config, --json, and its result printed."""

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from diffumask.api.option import OptionField, option_fields
from diffumask.api.progress import log
from diffumask.api.use_case import UseCase

from .config_file import kept_options, read_config, write_config
from .one_line import errors_in_one_line

JSON_HELP = "Print the result as a JSON object."
CONFIG_HELP = "TOML file of options; those typed here count first."


def as_command(use_case: UseCase[..., Any, Any]) -> Callable[..., None]:
    """Make the function that Typer takes for the command of a use case.

    What the user can mend is one line on stderr. The options are kept in a folder that it makes.
    """
    known = {field.name: field for field in option_fields(use_case.options_class)}

    def command(context: Any, config: Path | None, as_json: bool, **typed: Any) -> None:
        given = {name: value for name, value in typed.items() if value is not None}
        with errors_in_one_line(), log_on_stderr():
            with redirect_stdout(sys.stderr):  # whatever a library prints is no result
                result = use_case.run(use_case.options(**given))
            name = _command_name(context)
            if result.folder is not None:
                out = {"out": result.folder} if typed.get("out", "") is None else {}
                write_config(result.folder, name, kept_options(known, typed | out))
        text = result.to_json(name) if as_json else result.text
        # Files in folders of others may be called what no terminal can show.
        typer.echo(text.encode("utf-8", "backslashreplace").decode())
        if result.exit_code:
            raise typer.Exit(result.exit_code)

    parameters = _parameters(known)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__name__ = use_case.__name__
    command.__doc__ = use_case.summary
    return command


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show what the library logs as plain lines."""
    handler, level = logging.StreamHandler(sys.stderr), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _parameters(known: Mapping[str, OptionField]) -> list[inspect.Parameter]:
    file = typer.Option("--config", help=CONFIG_HELP, callback=_reader(known), is_eager=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = {
        "context": (typer.Context, inspect.Parameter.empty),
        "config": (Annotated[Path | None, file], None),
        "as_json": (Annotated[bool, typer.Option("--json", help=JSON_HELP)], False),
    }
    return [*map(_parameter, known.values())] + [
        inspect.Parameter(name, keyword, annotation=annotation, default=default)
        for name, (annotation, default) in shared.items()
    ]


def _parameter(field: OptionField) -> inspect.Parameter:
    option, kind = field.option, field.kind
    if option.positional:
        info = typer.Argument(help=option.help, show_default=option.default or False)
    else:
        names = [f"--{field.name}", *([f"-{option.short}"] if option.short else [])]
        show = True if option.default is None else option.default
        info = typer.Option(*names, help=option.help, show_default=show)
    is_none = not field.is_required and (field.is_list or field.default is None)
    annotation: Any = list[kind] if field.is_list else kind
    default = None if is_none else field.default
    return inspect.Parameter(
        field.field,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation | None if is_none else annotation, info],
        default=inspect.Parameter.empty if field.is_required else default,
    )


def _reader(known: Mapping[str, OptionField]) -> Callable[..., Path | None]:
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
