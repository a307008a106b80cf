"""Where progress is shown: a line on a terminal, the cell of a notebook, lines of a log."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from .pace import Counted, Phase

if TYPE_CHECKING:  # where there is no terminal, nothing is drawn
    from rich.console import RenderableType

FIRST_LINE_S, LAST_GAP_S = 1.5, 10.0  # lines of a log come at growing gaps
THREAD = "diffumask progress"
Entry = Phase | Counted


class Display:
    """Shows the innermost of the entries; this one shows nothing."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @contextmanager
    def showing(self, entry: Entry) -> Iterator[None]:
        """Show an entry until the end of the block, and then the one around it."""
        for outer in self.entries:
            self._leave(outer)
        self.entries.append(entry)
        self.begun()
        try:
            yield
            self._leave(entry, also_partial=True)
        finally:
            self.entries.pop()
            if isinstance(entry, Counted):  # not after a phase: what is counted comes yet
                for outer in self.entries:
                    outer.go_on()
            self.begun()

    def begun(self) -> None:
        """Show the entry that is the innermost now."""

    def changed(self) -> None:
        """Show that the innermost entry has changed."""

    def left(self, counted: Counted) -> None:
        """Leave what is to be seen of a count later."""

    def _leave(self, entry: Entry, also_partial: bool = False) -> None:
        if isinstance(entry, Counted) and entry.end(also_partial):
            self.left(entry)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Show nothing until the end of the block."""
        yield

    def stop(self) -> None:
        """Show nothing any more."""


@contextmanager
def open_display(log: logging.Logger) -> Iterator[Display]:
    """Show progress where it can be seen; nowhere if a log was set to a level above INFO."""
    display = _display(log)
    try:
        yield display
    finally:
        display.stop()


def _display(log: logging.Logger) -> Display:
    if log.level > logging.INFO:
        return Display()
    if _is_notebook():
        return Notebook()
    if sys.stderr.isatty():
        return Terminal()
    return Lines(log) if log.isEnabledFor(logging.INFO) else Display()


class Terminal(Display):
    """A line that moves; of what was counted a line stays."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("dots")
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, transient=True, get_renderable=self._render, refresh_per_second=8
        )
        self._start()

    def stop(self) -> None:
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self._start()

    def left(self, counted: Counted) -> None:
        self._console.print(str(counted), highlight=False, markup=False)

    def _start(self) -> None:
        from rich.errors import LiveError

        try:
            self._live.start()
        except LiveError:  # another thread shows progress
            return

    def _render(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        entry = next(reversed(self.entries), None)
        if entry is None:
            return Text("")
        row = Table.grid(padding=(0, 1))
        if isinstance(entry, Phase):
            row.add_row(self._spinner, str(entry))
            return row
        pace = entry.pace
        bar = ProgressBar(max(pace.total, 1), pace.done, width=20)
        name = f"{entry.name} {pace.done}/{pace.total}"
        row.add_row(self._spinner, name, bar, entry.detail)
        return row


class Notebook(Display):
    """One line of a cell, which changes."""

    def __init__(self) -> None:
        super().__init__()
        # There in every notebook, and nowhere else.
        from IPython.display import DisplayHandle  # pyright: ignore[reportMissingImports]

        self._cell = DisplayHandle()
        self._cell.display({"text/plain": ""}, raw=True)

    def begun(self) -> None:
        if self.entries:
            self.changed()

    def changed(self) -> None:
        self._cell.update({"text/plain": str(self.entries[-1])}, raw=True)


class Lines(Display):
    """Lines of a log, from a thread, so that they come also while a step takes long."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log = log
        self._gap_s = FIRST_LINE_S
        self._again, self._is_over = Event(), False
        self._thread = Thread(target=self._run, name=THREAD, daemon=True)
        self._thread.start()

    def begun(self) -> None:
        self._gap_s = FIRST_LINE_S
        self._again.set()

    def left(self, counted: Counted) -> None:
        self._log.info("%s", counted)

    def stop(self) -> None:
        self._is_over = True
        self._again.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over:
            if self._again.wait(self._gap_s):
                self._again.clear()
                continue
            self._gap_s = min(2 * self._gap_s, LAST_GAP_S)
            for entry in self.entries[-1:]:
                self._log.info("%s", entry)


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
