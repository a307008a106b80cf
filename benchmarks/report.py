"""A report in Markdown: what was run on what machine, and the tables that came of it."""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = {
    "torch": "torch",
    "diffusers": "diffusers",
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "OpenCV",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A file beside the report: its name ends in `suffix`, `write` makes it at a path."""

    suffix: str
    caption: str
    write: Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found. `facts` say what was measured, in words; `lines` are the rest."""

    title: str
    facts: Sequence[str]
    lines: Sequence[str]
    pictures: Sequence[Picture] = field(default=())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Write a table."""

    def line(cells: Sequence[object]) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    return [line(head), "|---" * len(head) + "|", *map(line, rows)]


def fields(values: Mapping[str, object], head: Sequence[str]) -> list[str]:
    """Write a table of two columns."""
    return table(head, values.items())


def middle(values: Sequence[float], digits: int = 2) -> str:
    """Write the median, with the lowest and the highest."""
    numbers = statistics.median(values), min(values), max(values)
    median, low, high = (f"{number:.{digits}f}" for number in numbers)
    return f"{median} ({low} to {high})"


def command(name: str, words: Sequence[str]) -> str:
    """Return the command line; an absolute path goes by the name of its option."""
    shown, option = [], ""
    for word in words:
        option = word if word.startswith("--") else option
        shown.append(option.lstrip("-").upper() if Path(word).is_absolute() else word)
    threads = os.environ.get("OMP_NUM_THREADS")
    head = f"OMP_NUM_THREADS={threads} " if threads else ""
    return f"{head}python -m benchmarks {name} {shlex.join(shown)}".strip()


def machine() -> str:
    """Name the cores, their load, and the versions of the libraries that were used."""
    torch = sys.modules.get("torch")
    parts = [f"{os.cpu_count()} cores", f"load {os.getloadavg()[2]:.1f}"]
    if torch is not None:
        parts.append(f"{torch.get_num_threads()} threads of torch")
        if torch.cuda.is_available():
            parts.append(torch.cuda.get_device_name())
    used = {
        name: sys.modules[module] for module, name in LIBRARIES.items() if module in sys.modules
    }
    versions = [f"{name} {one.__version__}" for name, one in used.items()]
    return f"{', '.join(parts)}; {', '.join([*versions, f'Python {platform.python_version()}'])}."


def write(report: Report, command: str, stem: str, out: Path | None) -> None:
    """Print the report; with `out` write it there, and its pictures beside it."""
    stem = out.stem if out else stem
    shown = [f"![{one.caption}]({stem}{one.suffix})" for one in report.pictures]
    head = [f"# {report.title}", "", f"Command: `{command}`.", machine(), *report.facts, ""]
    text = "\n".join([*head, *(line for one in shown for line in (one, "")), *report.lines]) + "\n"
    print(text)
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    for one in report.pictures:
        one.write(out.with_name(f"{stem}{one.suffix}"))


def tell(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)
