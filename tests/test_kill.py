"""Runs of `tiny` that are killed at random instants and gone on with."""

import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import commands
import pytest

from diffumask.dataset.listing import read_records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")

KILLS = 20
BATCHES = 12
WAIT_S = 120.0
RUN = "from killed_run import run; run(folder)"

contents = partial(commands.contents, but=(".lock",))
Start = Callable[[Path], BaseProcess]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start the run of killed_run.py in a process of its own, that has the model already."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_run"])

    def start(folder: Path) -> BaseProcess:
        # Here the module would load the model too, and test modules have no name to import.
        process = context.Process(target=exec, args=(RUN, {"folder": folder}))
        process.start()
        return process

    return start


def finish(process: BaseProcess) -> None:
    process.join(WAIT_S)
    assert process.exitcode == 0


def test_a_run_killed_at_random_instants_is_the_run_that_never_was(tmp_path, start):
    finish(start(tmp_path / "warm"))  # the server has loaded the model now
    started = time.monotonic()
    finish(start(tmp_path / "never"))
    batch_s = (time.monotonic() - started) / BATCHES
    whole = contents(tmp_path / "never")
    assert contents(tmp_path / "warm") == whole
    assert len(whole) == 3 * 36 + 3  # images, masks, maps; metadata, run.json, preview
    assert b'"attempt": ' in whole["metadata.jsonl"]

    rng = random.Random(0)
    kills = finished = 0
    folder = tmp_path / "killed"
    while kills < KILLS:
        process = start(folder)
        process.join(rng.uniform(0, 3 * batch_s))
        process.kill()
        process.join()
        if process.exitcode == 0:
            assert contents(folder) == whole
            finished += 1
            folder = tmp_path / f"killed {finished}"
            continue
        kills += 1
        for record in read_records(folder):
            for key in ("file_name", "mask_file_name"):
                assert (folder / record.fields[key]).read_bytes() == whole[record.fields[key]]
    finish(start(folder))
    assert contents(folder) == whole
