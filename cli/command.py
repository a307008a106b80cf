"""A use case as a command of Typer: its options, --config, --json, and its result printed."""

import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

import diffumask
from diffumask.api.option import OptionField, by_panel, option_fields
from diffumask.api.progress import log
from diffumask.api.use_case import UseCase
from diffumask.errors import InputError

from .config_file import CONFIG_FILE, kept_options, read_config, write_config
from .one_line import errors_in_one_line
from .typer_command import EVERYWHERE, command_name

JSON_HELP = "Print the result as a JSON object."
CONFIG_HELP = "TOML file of options; those typed here count first."
VERSION_HELP = "Print the version."
QUIET_HELP = "Neither progress nor notices."
VERBOSE_HELP = "Times and details, and where an error comes from."
SHORT = {"n": "-n", "out": "-o"}  # by what a field is called, whatever the command
HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def as_command(use_case: UseCase[..., Any, Any]) -> Callable[..., None]:
    """Make the function that Typer takes for the command of a use case.

    What the user can mend is one line on stderr. The options are kept in a folder that it makes.
    """
    known = {field.name: field for field in option_fields(use_case.options_class)}

    def command(
        context: Any,
        config: Path | None,
        as_json: bool,
        is_quiet: bool,
        is_verbose: bool,
        show_version: bool,
        **typed: Any,
    ) -> None:
        given = {name: value for name, value in typed.items() if value is not None}
        with log_on_stderr(_level(is_quiet, is_verbose)), errors_in_one_line():
            if is_quiet and is_verbose:
                raise InputError("expected quiet or verbose, got both; choose one")
            began, name = time.monotonic(), command_name(context)
            log.debug("%s %s", name, given)
            with redirect_stdout(sys.stderr):  # whatever a library prints is no result
                result = use_case.run(use_case.options(**given))
            log.debug("%s took %.1f s", name, time.monotonic() - began)
            folder = result.folder
            # of a call that asked for less than there is, they are not those of the folder
            if folder is not None and (result.is_new or not (folder / CONFIG_FILE).exists()):
                out = {"out": folder} if typed.get("out", "") is None else {}
                write_config(folder, name, kept_options(known, typed | out))
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


def _level(is_quiet: bool, is_verbose: bool) -> int:
    if is_quiet:
        return logging.ERROR
    return logging.DEBUG if is_verbose else logging.INFO


class _OnStderr(logging.Handler):
    """Prints where stderr is at the time: above a line that moves, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


@contextmanager
def log_on_stderr(shown_from: int = logging.INFO) -> Iterator[None]:
    """Show what the library logs from a level on as plain lines; with the time if that is DEBUG."""
    handler, level = _OnStderr(), log.level
    if shown_from == logging.DEBUG:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(shown_from)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def tell_version(wanted: bool) -> bool:
    """Print the version and end, if that is wanted."""
    if wanted:
        typer.echo(f"diffumask {diffumask.__version__}")
        raise typer.Exit
    return wanted


def _shared(known: Mapping[str, OptionField]) -> dict[str, tuple[Any, Any]]:
    """Return the annotations and defaults of the parameters that all commands have."""
    empty = inspect.Parameter.empty

    def option(kind: Any, *names: str, **more: Any) -> Any:
        return Annotated[kind, typer.Option(*names, rich_help_panel=EVERYWHERE, **more)]

    reader = {"callback": _reader(known), "is_eager": True}
    version = {"callback": tell_version, "is_eager": True}
    return {
        "context": (typer.Context, empty),
        "config": (option(Path | None, "--config", help=CONFIG_HELP, **reader), None),
        "as_json": (option(bool, "--json", help=JSON_HELP), False),
        "is_quiet": (option(bool, "--quiet", "-q", help=QUIET_HELP), False),
        "is_verbose": (option(bool, "--verbose", "-v", help=VERBOSE_HELP), False),
        "show_version": (option(bool, "--version", "-V", help=VERSION_HELP, **version), False),
    }


def _parameters(known: Mapping[str, OptionField]) -> list[inspect.Parameter]:
    in_order = [field for panel in by_panel(known.values()).values() for field in panel]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [*map(_parameter, in_order)] + [
        inspect.Parameter(name, keyword, annotation=annotation, default=default)
        for name, (annotation, default) in _shared(known).items()
    ]


def _parameter(field: OptionField) -> inspect.Parameter:
    option, kind = field.option, field.kind
    complete = _completion(field) if option.values else None
    if option.positional:
        info = typer.Argument(
            help=option.help, show_default=option.default or False, autocompletion=complete
        )
    else:
        names = [f"--{field.name}", *([SHORT[field.field]] if field.field in SHORT else [])]
        show = True if option.default is None else option.default
        info = typer.Option(
            *names,
            help=option.help,
            show_default=show,
            autocompletion=complete,
            rich_help_panel=field.panel or None,
        )
    is_none = not field.is_required and (field.is_list or field.default is None)
    annotation: Any = list[kind] if field.is_list else kind
    default = None if is_none else field.default
    return inspect.Parameter(
        field.field,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation | None if is_none else annotation, info],
        default=inspect.Parameter.empty if field.is_required else default,
    )


def _completion(field: OptionField) -> Callable[..., list[str]]:
    """Make what lists the values that a shell completes, by the options typed so far."""
    values = field.option.values

    def complete(context: Any) -> list[str]:
        return list(values(context.params) if callable(values) else values)

    complete.__annotations__["context"] = typer.Context  # as for `read` below
    return complete


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
