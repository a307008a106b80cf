"""The commands of the package, run as a user runs them and timed."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass

from .report import tell


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of the clock, and of all cores together."""

    wall_s: float
    cpu_s: float


def diffumask(*words: object, quiet: bool = False) -> tuple[Spent, str]:
    """Run a command in a process of its own; return what it took and what it printed.

    Raises CalledProcessError where it fails.
    """
    typed = [str(word) for word in words]
    if not quiet:
        tell(f"diffumask {' '.join(typed)}")
    started, used = time.perf_counter(), _children_cpu_s()
    command = [sys.executable, "-m", "diffumask.cli", *typed]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Spent(time.perf_counter() - started, _children_cpu_s() - used), done.stdout


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
