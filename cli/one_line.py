"""What the user can mend, as one line on stderr and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from diffumask.api.progress import log
from diffumask.api.result import printable
from diffumask.errors import InputError

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print what the user can mend as one line on stderr, and exit with a code of its own.

    The log has where it comes from, at the level DEBUG.
    """
    try:
        yield
    except InputError as error:
        log.debug("refused", exc_info=error)
        typer.echo(f"diffumask: {printable(str(error))}", err=True)
        raise typer.Exit(EXIT_INPUT_ERROR) from None
    except KeyboardInterrupt as interrupt:
        typer.echo(f"diffumask: stopped; {interrupt}".rstrip("; "), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
