"""The page of all options: `python -m diffumask.cli.options_page > docs/options.md`."""

from collections.abc import Sequence
from typing import Any

from diffumask.api.option import OptionField, by_panel, option_fields
from diffumask.api.use_case import UseCase

from .app import COMMANDS
from .command import SHORT

HEAD = """# Options

Every command with its options, and what they are called as arguments of its function in Python.
Each command also takes `--config FILE`, `--json`, `--quiet`, `--verbose`, `--version` and `--help`
([commands](commands.md)). This page is made from the code by
`python -m diffumask.cli.options_page > docs/options.md`; a test compares them.
"""
KINDS = {bool: "", int: "INT", float: "NUMBER", str: "TEXT"}


def options_page() -> str:
    """Return the page as markdown."""
    return "\n".join([HEAD, *(_section(name, one) for name, one in COMMANDS.items())])


def _section(name: str, use_case: UseCase[..., Any, Any]) -> str:
    panels = by_panel(option_fields(use_case.options_class))
    called = f"`diffumask.{use_case.__name__}`"
    first = use_case.summary.split("\n\n")[0]
    tables = [_table(panel, fields) for panel, fields in panels.items()]
    tables = tables or ["It has none of its own.\n"]
    return "\n".join([f"## {name}", "", f"{called}: {first}", "", *tables])


def _table(panel: str, fields: Sequence[OptionField]) -> str:
    rows = map(_row, fields)
    head = ["| option | in Python | meaning | default |", "| --- | --- | --- | --- |"]
    title = [f"**{panel}**", ""] if panel else []
    return "\n".join([*title, *head, *rows, ""])


def _row(field: OptionField) -> str:
    kind = KINDS.get(field.kind, "PATH") + ("..." if field.is_list else "")
    short = f"{SHORT[field.field]}, " if field.field in SHORT else ""
    name = field.name.upper() if field.option.positional else f"{short}--{field.name} {kind}"
    default = "required" if field.is_required else field.option.default or _shown(field.default)
    cells = (f"`{name.strip()}`", f"`{field.field}`", field.option.help, default)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(default: Any) -> str:
    if default is False:
        return "off"
    return "none" if default == () else f"`{default}`"


if __name__ == "__main__":
    print(options_page())
