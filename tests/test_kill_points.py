"""Every command that writes, killed before each of its calls that write, and on a full disk.

All calls are tried with KILL_POINTS=all, else the first and last ones and some between.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffumask.scenes.sprites import find_font

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TESTS = Path(__file__).parent
KILLED = 137
FIRST = 4
BETWEEN = 3
# Of a training that went on: its pace, and the mean loss since then.
OWN = re.compile(rb'"(steps_per_s|seconds|loss)": [0-9.]+')
COMMANDS = [
    *("generate", "scenes", "merge", "remask", "augment", "filter", "export", "import"),
    *("upload", "verify", "train", "segmentator", "affinity", "lora"),
]


class Server:
    """Runs commands in processes that it forks, see kill_points.py."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(TESTS / "kill_points.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.whole: dict[str, tuple[int, dict[str, bytes]]] = {}

    def ask(self, name, folder, mode="", nth=0):
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = [name, str(folder), str(self.shared), mode, nth]
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_random_folder):
    shared = tmp_path_factory.mktemp("shared")
    shutil.copytree(tiny_random_folder, shared / "model")
    server = Server(shared)
    made = server.ask("prepare", shared)
    assert made["code"] == 0, made["text"]
    yield server
    server.stop()


def new_folder(path, server, name):
    """A folder to work in, with a copy of what a command changes."""
    path.mkdir()
    for source in {"filter": ["masks"], "verify": ["broken"]}.get(name, []):
        shutil.copytree(server.shared / source, path / source)
    return path


def contents(folder):
    """All files but locks, without what is of one process and the name of the folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    files = [path for path in files if ".broken" not in path.parts]  # one folder for each repair
    return {path.relative_to(folder).as_posix(): content_of(path, folder) for path in files}


def content_of(path, folder):
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # its head is in an order that differs from run to run
        size = 8 + int.from_bytes(content[:8], "little")
        head = json.dumps(json.loads(content[8:size]), sort_keys=True)
        return head.encode() + content[size:]
    return OWN.sub(b"", content.replace(str(folder).encode(), b"FOLDER"))


def points(count):
    """The calls to stop at: the first ones, the last, and some between."""
    if os.environ.get("KILL_POINTS") == "all":
        return list(range(1, count + 1))
    step = max(1, (count - FIRST) // (BETWEEN + 1))
    return sorted({*range(1, FIRST + 1), *range(FIRST + step, count, step), count})


@pytest.fixture(params=COMMANDS)
def command(request, server, tmp_path):
    """A command, how many calls of its own write, and what it makes undisturbed."""
    name = request.param
    if name == "scenes" and find_font() is None:
        pytest.skip("needs the font of the scenes")
    if name not in server.whole:
        folder = new_folder(tmp_path / "whole", server, name)
        told = server.ask(name, folder)
        assert told["code"] == 0, told["text"]
        server.whole[name] = told["count"], contents(folder)
    return name, *server.whole[name]


def test_after_a_kill_before_any_call_the_same_command_ends_as_if_there_was_none(
    command, server, tmp_path
):
    name, count, whole = command
    for nth in points(count):
        folder = new_folder(tmp_path / str(nth), server, name)
        told = server.ask(name, folder, "kill", nth)
        assert told["code"] == KILLED, told["text"]
        told = server.ask(name, folder, "", nth)
        assert told["code"] == 0, (nth, told["text"])
        assert contents(folder) == whole, nth
        shutil.rmtree(folder)


def test_a_disk_that_is_full_from_any_call_on_is_one_line_and_blocks_nothing(
    command, server, tmp_path
):
    name, count, whole = command
    for nth in points(count)[::3]:
        folder = new_folder(tmp_path / str(nth), server, name)
        told = server.ask(name, folder, "full", nth)
        assert told["code"] in (0, 2), (nth, told["text"])
        if told["code"] == 2:
            line = told["text"].splitlines()[-1]
            assert line.startswith("diffumask: expected to write to "), (nth, line)
            assert "No space left on device; " in line
            assert "run again" in line
            told = server.ask(name, folder, "", nth)
            assert told["code"] == 0, (nth, told["text"])
        assert contents(folder) == whole, nth
        shutil.rmtree(folder)
