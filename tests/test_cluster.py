"""Runs on a local Ray of two CPU workers, in processes of their own: Ray warns as it pleases."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread

import commands
import psutil
import pytest
import torch

from diffumask.api.generate import GenerateOptions
from diffumask.dataset.listing import read_records
from diffumask.errors import InputError
from diffumask.generation import ray_address
from diffumask.generation.ray_address import check_ray, parse_address

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


@contextmanager
def listening(answer: bytes) -> Iterator[str]:
    """The address of a server that says this and nothing more to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(answer)
                    held.append(connection)

        held: list[socket.socket] = []
        Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for connection in held:
            connection.close()


def test_an_address_without_ray_is_one_line_within_seconds(monkeypatch):
    monkeypatch.setattr(ray_address, "ANSWER_S", 0.2)
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as other, listening(b"") as silent:
        with socket.create_server(("127.0.0.1", 0)) as free:
            closed = f"127.0.0.1:{free.getsockname()[1]}"
        answers = {
            other: "a server of another kind",
            silent: "timed out",
            closed: "Connection refused",
            f"ray://{closed}": "Connection refused",
            "nowhere.invalid:1": "",
            "no..where:1": "",  # in the words of the system
        }
        for address, reason in answers.items():
            with pytest.raises(InputError, match=f"a Ray cluster at '{address}', got: .*{reason}"):
                check_ray(address)
    line = commands.refused("generate", "--class", "bird", "--ray", closed)
    assert f"expected a Ray cluster at '{closed}', got: Connection refused" in line


def test_a_name_that_is_looked_up_for_minutes_is_not_waited_for(monkeypatch):
    found = Event()

    def look_up(*_: object) -> None:
        assert found.wait(WAIT_S)
        raise OSError("too late")

    monkeypatch.setattr(ray_address, "ALL_S", 0.1)
    monkeypatch.setattr(socket, "create_connection", look_up)
    with pytest.raises(InputError, match="got: no answer in 0 s"):
        check_ray("far:1")
    found.set()


def test_a_cluster_that_was_noted_and_is_gone_is_not_waited_for(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    check_ray("auto")  # of none that was noted Ray tells at once
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(f"{gone}\n")
    with pytest.raises(InputError, match="a Ray cluster at 'auto', got: Connection refused"):
        check_ray("auto")


@pytest.mark.parametrize("address", ["head", "head:", ":1", "head:port", "head:99999", ""])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(InputError, match="expected local, auto or HOST:PORT as the address of Ray"):
        GenerateOptions(classes=["bird"], n=1, ray=address)


def test_a_server_that_greets_as_ray_does_is_let_through():
    assert [parse_address(one) for one in ("ray://h:1", "[::1]:2")] == [("h", 1), ("::1", 2)]
    with listening(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as address:
        check_ray(address)


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setattr(ray_address, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"expected Ray, got none.*diffumask\[ray\]"):
        check_ray("local")


def test_workers_need_ray():
    with pytest.raises(InputError, match="workers of 1 or more, on Ray, got 2"):
        GenerateOptions(classes=["bird"], n=1, workers=2)
    with pytest.raises(InputError, match="workers of 1 or more, on Ray, got 0"):
        GenerateOptions(classes=["bird"], n=1, workers=0, ray="local")
