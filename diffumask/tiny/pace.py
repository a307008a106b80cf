"""How fast a training goes, and how many steps fit into the minutes that a machine is there for."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from diffumask.files.atomic import write_file
from diffumask.training.distributed import is_first_process
from diffumask.types import OnStep

PRINT_EVERY = 50
PROBE_STEPS = 10, 40  # the difference leaves out what a training does once


def steps_within(minutes: float, train_steps: Callable[[int, Path], None], record: Path) -> int:
    """Return the number of steps, at least 1, and keep it in `record` for a resumed run.

    `train_steps(number, folder)` trains a copy of the model that long, in an empty folder.
    """
    if not record.exists():
        few, many = (_seconds(train_steps, number) for number in PROBE_STEPS)
        seconds_per_step = max(many - few, 1e-3) / (PROBE_STEPS[1] - PROBE_STEPS[0])
        paced = {"num_steps": max(1, int(60 * minutes / seconds_per_step)), "minutes": minutes}
        write_file(record, json.dumps(paced).encode())
    return json.loads(record.read_text("utf-8"))["num_steps"]


def printed_rate(images_a_step: int) -> OnStep:
    """Return what prints how many images a second were seen in all processes since it last did."""
    last = (0, 0.0)

    def on_step(step: int, num_steps: int) -> None:
        nonlocal last
        now, (before, then) = time.perf_counter(), last
        if not then:
            last = step, now
        elif step % PRINT_EVERY == 0 or step == num_steps:
            last = step, now
            if is_first_process():
                rate = (step - before) * images_a_step / (now - then)
                print(f"step {step} of {num_steps}: {rate:.1f} images/s", flush=True)

    return on_step


def _seconds(train_steps: Callable[[int, Path], None], number: int) -> float:
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        train_steps(number, Path(folder))
        return time.perf_counter() - started
