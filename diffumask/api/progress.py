"""Progress: a bar on a terminal, one line that changes in a notebook, else lines of the log.

The log is that of the standard library, named "diffumask", at the level INFO.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

LINE_EVERY_S = 10.0

log = logging.getLogger("diffumask")
Advance = Callable[[int], None]


class Pace:
    """Seconds per item and time left, from the items made since the start."""

    def __init__(self, total: int, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = done
        self._made = 0
        self._clock = clock
        self._start = clock()

    def advance(self, count: int) -> None:
        """Count items that were made just now."""
        self.done += count
        self._made += count

    def __str__(self) -> str:
        seconds_each = (self._clock() - self._start) / self._made if self._made else 0.0
        left = _duration(seconds_each * (self.total - self.done))
        return f"{seconds_each:.3g} s/item, {left} left"


@contextmanager
def progress(total: int, done: int = 0) -> Iterator[Advance]:
    """Show how many of `total` items there are, the pace of this run and the time left.

    `done` items were there before. Call what is yielded with the number of new items. Nothing is
    shown where the log was set to a level above INFO.
    """
    pace = Pace(total, done)
    shown = (
        _nothing
        if log.level > logging.INFO
        else _in_notebook
        if _is_notebook()
        else _bar
        if sys.stderr.isatty()
        else _lines
    )
    with shown(pace) as show:

        def advance(count: int) -> None:
            pace.advance(count)
            show()

        yield advance


@contextmanager
def step_progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show the steps of a training; call what is yielded with how many are done by now.

    The first call tells how many an earlier run did.
    """
    with ExitStack() as stack:
        advances: list[Advance] = []
        done = 0

        def on_step(step: int) -> None:
            nonlocal done
            if advances:
                advances[0](step - done)
            else:
                advances.append(stack.enter_context(progress(total, step)))
            done = step

        yield on_step


@contextmanager
def _nothing(pace: Pace) -> Iterator[Callable[[], None]]:
    yield lambda: None


@contextmanager
def _bar(pace: Pace) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=pace.total, completed=pace.done)
        yield lambda: bar.update(task, completed=pace.done, description=str(pace))


@contextmanager
def _in_notebook(pace: Pace) -> Iterator[Callable[[], None]]:
    # There in every notebook, and nowhere else.
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    def line() -> dict[str, str]:
        return {"text/plain": f"{pace.done}/{pace.total} {pace}"}

    cell = display(line(), raw=True, display_id=True)
    yield lambda: cell.update(line(), raw=True)


@contextmanager
def _lines(pace: Pace) -> Iterator[Callable[[], None]]:
    shown_at = time.monotonic()

    def show() -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at >= LINE_EVERY_S or pace.done == pace.total:
            shown_at = now
            log.info("%d/%d %s", pace.done, pace.total, pace)

    yield show


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def _duration(seconds: float) -> str:
    """Round to what a person waits by: 42 s, 17 min, 3.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
