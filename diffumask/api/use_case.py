"""A use case as a function of Python and as a command, from one declaration.

    @dataclass(frozen=True, kw_only=True)
    class MergeOptions(Options):
        shards: Annotated[Sequence[StrPath], Option("Folders of one run.", positional=True)]
        out: Annotated[StrPath, Option("Folder of the merged dataset.")]
        copy: Annotated[bool, Option("Copy files, where a hard link would do.")] = False

    @use_case(MergeOptions)
    def merge(options: MergeOptions) -> Result[Dataset]:
        '''Merge the shards of a run to the dataset that one run would have made.

        What follows the first paragraphs is for Python alone, from "Return" or "Raise" on.
        '''

`merge(shards=[...], out=...)` checks the options, runs it and returns the value of its result;
`merge.run(options)` returns the whole result, which a command prints. A field that may be left
out and stands for something else is `X | None = None` with `Option(default="what it stands
for")`; a list is `Sequence[X] = ()`. Groups that several use cases share are base classes.
"""

from collections.abc import Callable
from functools import wraps
from inspect import getdoc
from typing import Any, Generic, ParamSpec, TypeVar

from .option import parameter_docs
from .progress import phase
from .result import Result

P = ParamSpec("P")
O = TypeVar("O")  # noqa: E741
T = TypeVar("T")

FOR_PYTHON = ("Return", "Raise", "Yield")


class UseCase(Generic[P, O, T]):
    """What a user can ask for: called with its options it returns a value."""

    def __init__(self, options: Callable[P, O], function: Callable[[O], Result[T]]) -> None:
        self.options = options
        self.options_class: Any = options  # the same, as what has fields
        self.run = _with_phases(function)
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = f"{getdoc(function)}\n\n{parameter_docs(self.options_class)}\n"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(self.options(*args, **kwargs)).value

    @property
    def summary(self) -> str:
        """What it does, for the help of its command."""
        paragraphs = (getdoc(self.run) or "").split("\n\n")
        kept = [one for one in paragraphs if not one.strip().startswith(FOR_PYTHON)]
        return "\n\n".join(kept)


def _with_phases(function: Callable[[O], Result[T]]) -> Callable[[O], Result[T]]:
    """Name what goes on where the function does not: libraries are imported for seconds."""

    @wraps(function)
    def run(options: O) -> Result[T]:
        with phase("loading", then="finishing"):
            return function(options)

    return run


def use_case(
    options: Callable[P, O],
) -> Callable[[Callable[[O], Result[T]]], UseCase[P, O, T]]:
    """Make a use case of a function from the class of its options."""

    def decorate(function: Callable[[O], Result[T]]) -> UseCase[P, O, T]:
        return UseCase(options, function)

    return decorate
