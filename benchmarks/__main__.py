"""Run a benchmark: `python -m benchmarks NAME [options]`. Without a name, list them all."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .options import REPORT_OUT, parser_of
from .report import Report, command, write

README = Path(__file__).parent / "README.md"
LINK, FOLDER = r"\[[^]]*\]\((results/[^)]*)\)", r"benchmarks/\1"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of README.md: a module of a topic, what it proves, how long it takes, its needs."""

    topic: str
    name: str
    proves: str
    takes: str
    needs: str

    def load(self) -> ModuleType:
        """Import its module, whose `main` takes its options and returns a report or nothing."""
        return import_module(f"benchmarks.{self.topic}.{self.name}")


def entries() -> dict[str, Entry]:
    """Read the tables of README.md, each below a heading with its topic."""
    found, topic = {}, ""
    for line in README.read_text("utf-8").splitlines():
        if line.startswith("## "):
            topic = line[3:]
        elif line.startswith("| `"):
            name, *about = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = Entry(topic, name.strip("`"), *about)
    return found


def overview() -> str:
    """List all benchmarks with what they prove, take and need."""
    lines = ["python -m benchmarks NAME [options], or NAME --help", ""]
    for one in entries().values():
        lines.append(f"{one.name}: {re.sub(LINK, FOLDER, one.proves)}")
        lines.append(f"    takes {one.takes}; needs {one.needs or 'nothing'}")
    return "\n".join(lines)


def run(name: str, words: Sequence[str]) -> None:
    """Run one with its options as typed; print its report, and write it where asked."""
    module = entries()[name].load()
    parser = parser_of(name, module)
    options: dict[str, Any] = vars(parser.parse_args(words))
    out = options.pop(REPORT_OUT, None)
    report = module.main(**options)
    if isinstance(report, Report):
        write(report, command(name, words), name, out)


def main() -> None:
    """Run from the command line."""
    name, *words = sys.argv[1:] or [""]
    if name not in entries():
        print(overview())
        sys.exit(2 if name else 0)
    run(name, words)


if __name__ == "__main__":
    main()
