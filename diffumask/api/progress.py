"""What goes on and for how long: phases by name, and counts with pace and time left.

On a terminal it is a line that moves, in a notebook one that changes, else lines of the log of the
standard library, named "diffumask", at the level INFO. Where that log was set to a higher one,
nothing is shown.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from .display import Display, open_display
from .pace import Counted, Pace, Phase, duration

ESTIMATED_AFTER_S, WORTH_TELLING_S = 2.0, 10.0

T = TypeVar("T")
log = logging.getLogger("diffumask")
Advance = Callable[[int], None]

_display: ContextVar[Display | None] = ContextVar("display", default=None)


class Progress(Protocol):
    """Called with the number of new items; `on_phase` is told what goes on between them."""

    def __call__(self, count: int, /) -> None: ...

    def on_phase(self, what: str, done: int, total: int, /) -> None:
        """Show beside the items that so much of something is done; all of it is shown no more."""


@contextmanager
def phase(name: str, then: str | None = None) -> Iterator[None]:
    """Name what goes on in the block while nothing else is shown; after a count inside `then`."""
    with _shown(Phase(name, then)):
        yield


@contextmanager
def opening(name: str, context: AbstractContextManager[T]) -> Iterator[T]:
    """Enter a context, and name that alone."""
    with ExitStack() as stack:
        with phase(name):
            value = stack.enter_context(context)
        yield value


@contextmanager
def starting_torch() -> Iterator[None]:
    """Import torch and name that, which takes seconds; in the block, what imports more."""
    with phase("starting torch"):
        import torch  # noqa: F401

        yield


@contextmanager
def progress(name: str, total: int, done: int = 0, each: str = "item") -> Iterator[Progress]:
    """Show how many of `total` there are, the pace of this run and the time left.

    `done` were there before; `each` is what one is called.
    """
    counted = Counted(name, Pace(total, done, each))
    with _shown(counted) as changed:
        yield _Advance(counted, changed)


@contextmanager
def step_progress(name: str, at_most: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show the steps of a training; call what is yielded with how many are done, and of how many.

    What a first call tells, and what jumps ahead, was done by an earlier run. After some steps the
    log says how long it takes, or with `at_most` that it may end sooner.
    """
    with ExitStack() as stack:
        counted = Counted(name, Pace(0, 0, "step"))
        pace, changed, is_told, is_warm = counted.pace, None, False, False

        def on_step(step: int, num_steps: int) -> None:
            nonlocal changed, is_told, is_warm
            pace.total = num_steps
            is_next = bool(changed) and step == pace.done + 1
            if is_next and is_warm:
                pace.advance(1)
            else:  # a first step is no measure: it makes what later ones find
                pace.begin(step)
            is_warm = is_next
            changed = changed or stack.enter_context(_shown(counted))
            changed()
            if not is_told and pace.spent_s > ESTIMATED_AFTER_S and pace.left_s:
                is_told = True
                if pace.left_s > WORTH_TELLING_S:
                    left = duration(pace.left_s)
                    most = " at most" if at_most else ""
                    log.info("%s: about %s for %d steps%s", name, left, num_steps - step, most)

        yield on_step


class _Advance:
    def __init__(self, counted: Counted, changed: Callable[[], None]) -> None:
        self._counted = counted
        self._changed = changed

    def __call__(self, count: int, /) -> None:
        self._counted.pace.advance(count)
        self._changed()

    def on_phase(self, what: str, done: int, total: int, /) -> None:
        self._counted.see(what, done, total)
        self._changed()


@contextmanager
def _shown(entry: Phase | Counted) -> Iterator[Callable[[], None]]:
    """Show an entry in place of those around it; yields what is to be called when it changes."""
    with ExitStack() as stack:
        display = _display.get()
        if display is None:
            from diffumask.models.registry import around_download

            display = stack.enter_context(open_display(log))
            stack.callback(_display.reset, _display.set(display))
            stack.callback(around_download.reset, around_download.set(display.paused))
        stack.enter_context(display.showing(entry))
        yield display.changed
