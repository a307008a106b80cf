"""Runs on a local Ray of two CPU workers, in processes of their own: Ray warns as it pleases."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import commands
import psutil
import pytest
import torch

from diffumask.api.generate import GenerateOptions
from diffumask.dataset.listing import read_records
from diffumask.errors import InputError

WAIT_S = 240.0
contents = partial(commands.contents, but=("config.toml",))


def words_of(model: Path, out: Path) -> list[str]:
    small = ["--num-inference-steps", "8", "--height", "16", "--width", "24", "--batch-size", "2"]
    small += ["--redraw", "1", "--threshold", "0.9"]  # at which some have no mask
    words = ["--model", str(model), *small, "--class", "bird", "--n", "17", "--out", str(out)]
    return ["generate", *words]


def started(words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "diffumask.cli", *words, "--ray", "local", "--workers", "2"]
    # Workers give way to all others by default.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute by one thread as the workers do, for the same rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def finished(process: subprocess.Popen[str]) -> str:
    """Return the last line; before it, Ray may tell of the worker that died."""
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, stderr
    return stdout.splitlines()[-1]


def kill_a_worker(process: subprocess.Popen[str], out: Path) -> None:
    """Kill one of the workers as soon as there is an item."""
    until = time.monotonic() + WAIT_S
    while not read_records(out):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in below if one.name().startswith("ray::Worker")]
    assert len(workers) == 2
    workers[0].kill()


def test_two_workers_of_which_one_is_killed_make_what_one_process_makes(
    tmp_path, tiny_random_folder
):
    pytest.importorskip("ray", reason="Ray is not installed")
    on_ray = started(words_of(tiny_random_folder, tmp_path / "ray"))
    kill_a_worker(on_ray, tmp_path / "ray")
    assert finished(on_ray).startswith("17 items in ")
    with one_thread():
        single = commands.done(*words_of(tiny_random_folder, tmp_path / "single"))
    assert single.startswith("17 items in ")
    assert contents(tmp_path / "ray") == contents(tmp_path / "single")


def test_workers_need_ray():
    with pytest.raises(InputError, match="workers of 1 or more, on Ray, got 2"):
        GenerateOptions(classes=["bird"], n=1, workers=2)
    with pytest.raises(InputError, match="workers of 1 or more, on Ray, got 0"):
        GenerateOptions(classes=["bird"], n=1, workers=0, ray="local")
