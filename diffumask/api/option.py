"""Options of a use case: fields of a frozen dataclass, each with its help, declared this once.

From them come the arguments of a function of `diffumask`, the options of a command, the keys of
its TOML file and its table in the docs.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from inspect import get_annotations
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from diffumask.errors import InputError

StrPath = str | Path
Values = Sequence[str] | Callable[[Mapping[str, Any]], Iterable[str]]
KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}


# Headings of options, in the order in which commands show them.
PANELS = WHAT, DATA, MODEL, MASKS, TRAINING, OUTPUT, MACHINES = (
    *("What", "Data", "Model", "Masks"),
    *("Training", "Output", "Machines"),
)


@dataclass(frozen=True, slots=True)
class Option:
    """What a field is for, beside its type and default.

    `name` is what a command calls it, its own name with '-' for '_' if left out. `default` says
    what a default of None or nothing stands for. A `positional` field needs no name on a command
    line. `values` are those that a shell can complete, or what tells them of the options given so
    far; further values are not refused. Numbers are `least` or more. What is `read` has to exist.
    `panel` is the heading it stands under, that of its class if left out.
    """

    help: str
    name: str | None = None
    default: str | None = None
    positional: bool = False
    values: Values = ()
    least: int | None = None
    read: bool = False
    panel: str | None = None


@dataclass(frozen=True, slots=True)
class OptionField:
    """A field as its class declares it: `kind` is that of its value, or of each of a list.

    Text may be a number as well where `or_number` says so.
    """

    field: str
    name: str
    kind: type
    is_list: bool
    or_number: bool
    is_required: bool
    default: Any
    option: Option
    panel: str

    def check(self, value: Any) -> None:
        """Raise InputError for a value of another kind, too small a number, a path to nothing."""
        if value is None and not self.is_required and self.default is None:
            return
        if not self.is_list:
            self._check_one(value)
        elif isinstance(value, str) or not isinstance(value, Sequence):
            raise self._refusal(value)
        else:
            for item in value:
                self._check_one(item)

    def _check_one(self, value: Any) -> None:
        is_truth = isinstance(value, bool)
        if not isinstance(value, self._fitting) or is_truth != (self.kind is bool):
            raise self._refusal(value)
        _check_unicode(value)
        least = self.option.least
        if least is not None and value < least:
            raise InputError(f"expected {self.name} of {least} or more, got {value}")
        # of os, as that of pathlib raises where a folder above may not be read
        if self.option.read and not os.path.exists(value):
            raise InputError(
                f"expected an existing path as {self.name}, got {str(value)!r}, which is not there"
            )

    def _refusal(self, value: Any) -> InputError:
        kind = f"a list of {KINDS[self.kind]}" if self.is_list else KINDS[self.kind]
        return InputError(f"expected {kind} as {self.name}, got {value!r}")

    @property
    def _fitting(self) -> Any:
        numeric = {int: Integral, float: Real, Path: StrPath}
        return str | Real if self.or_number else numeric.get(self.kind, self.kind)


class Options:
    """The base of all options: values are of the declared kinds, or an InputError says not.

    A class may have a `PANEL`, one of `PANELS`: the heading that its own fields stand under.
    """

    def __post_init__(self) -> None:
        for field in option_fields(type(self)):
            field.check(getattr(self, field.field))


@cache
def option_fields(options: type) -> tuple[OptionField, ...]:
    """List the options of a class: the positional, its own, then those of its bases in order."""
    hints = get_type_hints(options, include_extras=True)
    declared: tuple[Field[Any], ...] = fields(options)
    owner: dict[str, type] = {}
    for kind in options.__mro__:
        for name in get_annotations(kind):
            owner.setdefault(name, kind)
    own = {field.name: field for field in declared}
    ordered = [
        _option_field(own[name], hints[name], vars(kind).get("PANEL", ""))
        for name, kind in owner.items()
        if name in own
    ]
    return tuple(sorted(ordered, key=lambda field: not field.option.positional))


def by_panel(fields: Iterable[OptionField]) -> dict[str, list[OptionField]]:
    """Group options by their headings, in the order of `PANELS`; first those without one."""
    found: dict[str, list[OptionField]] = {panel: [] for panel in ("", *PANELS)}
    for field in fields:
        found[field.panel].append(field)
    return {panel: listed for panel, listed in found.items() if listed}


def _option_field(field: Field[Any], hint: Any, panel: str) -> OptionField:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"expected Annotated[type, Option(...)] of {field.name}, got {hint}")
    declared, option = get_args(hint)
    kinds = set(get_args(declared)) if get_origin(declared) is UnionType else {declared}
    or_number = kinds >= {str, float}
    (kind,) = kinds - {NoneType, *([str] if Path in kinds else []), *([float] if or_number else [])}
    is_list = get_origin(kind) is Sequence
    if is_list:
        (kind,) = get_args(kind)
        kind = Path if kind == StrPath else kind
    return OptionField(
        field.name,
        option.name or field.name.replace("_", "-"),
        kind,
        is_list,
        or_number,
        field.default is MISSING,
        None if field.default is MISSING else field.default,
        option,
        panel if option.panel is None else option.panel,
    )


def _check_unicode(value: Any) -> None:
    # What is made could not name it.
    text = os.path.abspath(value) if isinstance(value, Path) else value
    if isinstance(text, str) and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"expected names in UTF-8, got {value!r}; rename or move it") from None


def parameter_docs(options: type) -> str:
    """Describe the options as the arguments of a function, a line each."""
    lines = ["Arguments:"]
    for field in option_fields(options):
        default = field.option.default or (None if field.is_required else repr(field.default))
        suffix = f" Default: {default}." if default else ""
        lines.append(f"    {field.field}: {field.option.help}{suffix}")
    return "\n".join(lines)
