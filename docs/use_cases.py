"""Show the use cases on the site with the arguments that they take: the fields of their options."""

from importlib import import_module
from pathlib import Path
from typing import Any

import griffe

import diffumask
from diffumask.api.option import OptionField, option_fields


class UseCases(griffe.Extension):
    """What is made at run time: the public names, and what `use_case` makes of a function."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Show the names that `import diffumask` offers, and no others."""
        pkg.exports = list(diffumask._MODULES)

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Give a use case its arguments, its docstring, and its value in place of its result."""
        is_one = any(str(one.value).startswith("use_case(") for one in func.decorators)
        if func.docstring is None or not is_one:
            return
        case = getattr(import_module(func.module.path), func.name)
        func.docstring.value = case.__doc__
        func.parameters = griffe.Parameters(*map(_parameter, option_fields(case.options_class)))
        func.returns = str(func.returns).strip("'\"").removeprefix("Result[").removesuffix("]")
        func.decorators.clear()


def _parameter(field: OptionField) -> griffe.Parameter:
    kind = "str | Path" if field.kind is Path else field.kind.__name__
    kind = f"Sequence[{kind}]" if field.is_list else kind
    kind += " | float" if field.or_number else ""
    is_none = not field.is_required and field.default is None
    return griffe.Parameter(
        field.field,
        annotation=f"{kind} | None" if is_none else kind,
        kind=griffe.ParameterKind.keyword_only,
        default=None if field.is_required else repr(field.default),
    )
