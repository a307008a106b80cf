"""The commands of the package, run as a user runs them and timed."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .report import tell


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of the clock, and of all cores together."""

    wall_s: float
    cpu_s: float


def diffumask(
    *words: object, quiet: bool = False, cwd: Path | None = None, exits: int = 0
) -> tuple[Spent, str]:
    """Run a command in a process of its own; return what it took and what it printed.

    Raises CalledProcessError where it ends with another exit code. Only where that is not 0 the
    text is that of stderr.
    """
    typed = [str(word) for word in words]
    if not quiet:
        tell(f"diffumask {' '.join(typed)}")
    started, used = time.perf_counter(), _children_cpu_s()
    command = [sys.executable, "-m", "diffumask.cli", *typed]
    stderr = subprocess.PIPE if exits else None
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=cwd)
    if done.returncode != exits:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    spent = Spent(time.perf_counter() - started, _children_cpu_s() - used)
    return spent, done.stderr if exits else done.stdout


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
