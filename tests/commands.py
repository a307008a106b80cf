"""Commands called in this process: what they print, how they refuse, what files they leave."""

import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from diffumask.cli.app import app


def call(*words: object, **more: Any) -> Result:
    """Call a command; an error that it does not expect comes through, with its traceback."""
    typed = [str(word) for word in words]
    return CliRunner().invoke(app, typed, catch_exceptions=False, **more)


def done(*words: object) -> str:
    """The text on stdout of a command that ends well."""
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: object) -> str:
    """The one line of a command that refuses its input.

    Model and batch may be told before it, and what goes on be named.
    """
    result = call(*words)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    *before, line = result.stderr.splitlines()
    known = re.compile(r"model |\d+ images? at a time|.* \.\.\.|[\w ]+ \d+/\d+")
    assert all(known.match(earlier) for earlier in before)
    assert line.startswith("diffumask: ")
    assert ": expected " in line
    return line


def contents(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The bytes of each file under a folder by its path in it, without files of the names given."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in but]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
