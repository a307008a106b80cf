"""The command line of a benchmark, made of the parameters of its `main`."""

import inspect
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, NoneType
from typing import Annotated, Any, get_args, get_origin

REPORT_OUT = "report_out"  # so that no option of a benchmark has the name


def parser_of(name: str, module: ModuleType) -> ArgumentParser:
    """Make a parser of the parameters of `module.main`, and of --out where it returns a report.

    A parameter is Annotated[type, "what it is", choices], or a type alone. A sequence takes
    several words; a bool is a switch.
    """
    parser = ArgumentParser(
        f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    signature = inspect.signature(module.main, eval_str=True)
    for one in signature.parameters.values():
        _add(parser, one)
    if "out" not in signature.parameters:
        about = "where the report is written (.md)"
        parser.add_argument("--out", type=Path, dest=REPORT_OUT, metavar="PATH", help=about)
    return parser


def _add(parser: ArgumentParser, parameter: inspect.Parameter) -> None:
    kind, about, choices = _read(parameter.annotation)
    keywords: dict[str, Any] = {"help": about}
    if parameter.default is parameter.empty:
        keywords["required"] = True
    else:
        keywords["default"] = parameter.default
    if kind is bool:
        keywords["action"] = "store_true"
    else:
        several = get_origin(kind) is Sequence
        kind = get_args(kind)[0] if several else kind
        keywords |= {"type": kind, "choices": choices, "metavar": kind.__name__.upper()}
        if several:
            keywords["nargs"] = "*" if parameter.default == () else "+"
    if choices:
        keywords["help"] += f": {', '.join(choices)}"
    elif parameter.default not in (parameter.empty, None, False, ()):
        keywords["help"] += " (default: %(default)s)"
    parser.add_argument(f"--{parameter.name.replace('_', '-')}", **keywords)


def _read(annotation: Any) -> tuple[Any, str, list[str] | None]:
    """Return type, help and choices; of `X | None` the type is X."""
    kind, about, choices = annotation, "", None
    if get_origin(annotation) is Annotated:
        kind, about, *rest = get_args(annotation)
        choices = list(rest[0]) if rest else None
    parts = [part for part in get_args(kind) if part is not NoneType]
    if NoneType in get_args(kind):
        (kind,) = parts
    return kind, about, choices
