"""A command of Typer whose help is grouped, and which knows what other tools call its options."""

import difflib
from typing import Any

import typer.core

from diffumask.errors import InputError

from .one_line import errors_in_one_line
from .other_names import other_name

OPTIONS = "Options"  # the heading of those without another
EVERYWHERE = "Every command"  # that of those which all commands have


class Command(typer.core.TyperCommand):
    """Options stand under the heading of their panel; an unknown one is a line that says which."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options by their panels."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            panel = "Arguments" if param.param_type_name == "argument" else _panel(param)
            row = param.get_help_record(ctx)
            if row is not None:
                panels.setdefault(panel, []).append(row)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; an unknown option is refused in one line."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # The class of this error is in another module from one version of Typer to the next.
            if not hasattr(error, "possibilities"):
                raise
            with errors_in_one_line():
                raise InputError(self._unknown(ctx, error)) from None

    def _unknown(self, ctx: Any, error: Any) -> str:
        known = [name for param in self.get_params(ctx) for name in param.opts]
        near = other_name(error.option_name, known)
        if near is None:
            near = next(iter(difflib.get_close_matches(error.option_name, known, n=1)), None)
        hint = f"did you mean {near}? " if near else ""
        return (
            f"expected an option of {command_name(ctx)}, got {error.option_name!r}; {hint}"
            f"{ctx.help_option_names[0]} lists all"
        )


def _panel(option: Any) -> str:
    is_help = option.name == "help"  # which Typer makes
    return EVERYWHERE if is_help else option.rich_help_panel or OPTIONS


def command_name(context: Any) -> str:
    """Return what a command is called below the program, such as "lora train"."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(names)
