"""Commands that test_kill_points.py stops before each of their calls that write.

A server: it has all heavy modules loaded and forks a process for each request, of which one is a
line of JSON on stdin and one on stdout. A call that writes is one that Python audits, or a sync.
"""

import errno
import gc
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import commands
import torch
from formats_data import class_maps, dataset

from diffumask import models
from diffumask.errors import InputError
from diffumask.scenes.__main__ import write_scenes

KILLED = 137
CHANGES = ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.symlink")
GROWING = ("open", "os.mkdir", "os.link", "os.fsync")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SMALL = ("--num-inference-steps", 1, "--height", 16, "--width", 24)
QUICK = ("--steps", 2, "--batch-size", 2, "--device", "cpu")
NETWORK = ("--model", "upernet-tiny")


def call(*words: object) -> tuple[int, str]:
    result = commands.call(*words)
    return result.exit_code, result.stderr


def generate(out: Path, shared: Path, *words: object) -> tuple[int, str]:
    model = ("--model", shared / "model", *SMALL, "--n", 2, "--batch-size", 2, "--keep-maps")
    return call("generate", *model, "--class", "bird", "--class", "cat", "--out", out, *words)


def scenes(folder: Path, shared: Path) -> tuple[int, str]:
    try:
        write_scenes(folder / "out", 2, ["bird"], "train", 0)
    except InputError as error:
        return 2, f"diffumask: {error}"
    return 0, ""


def train(folder: Path, shared: Path) -> tuple[int, str]:
    more = ("--val", shared / "masks", "--size", "32x40", "--workers", 0)
    return call("train", shared / "masks", *NETWORK, *QUICK, *more, "-o", folder / "out")


def segmentator(folder: Path, shared: Path) -> tuple[int, str]:
    more = ("--views", 1, "--size", 16, "--held-out", 0.3, "-o", folder / "head.safetensors")
    where = ("--data", shared / "masks", "--model", shared / "model")
    return call("segmentator", "train", *where, *QUICK, *more)


def affinity(folder: Path, shared: Path) -> tuple[int, str]:
    steps = ("--steps", 2, "--device", "cpu")
    return call("affinity", "train", "--data", shared / "data", *steps, "-o", folder / "out")


def lora(folder: Path, shared: Path) -> tuple[int, str]:
    small = ("--rank", 1, "--batch-size", 1, "--resolution", "16x24")
    source = ("--images", shared / "captioned", "--model", shared / "model")
    return call("lora", "train", *source, *QUICK, *small, "-o", folder / "lora.safetensors")


def filter_apply(folder: Path, shared: Path) -> tuple[int, str]:
    how = (*NETWORK, *QUICK, "--steps", 1, "--folds", 2)
    return call("filter", folder / "masks", *how, "--apply", folder / "out")


def export(folder: Path, shared: Path) -> tuple[int, str]:
    told = call("export", shared / "data", "--format", "voc", "-o", folder / "out")
    return unless_taken(told, folder / "out/ImageSets")


def import_masks(folder: Path, shared: Path) -> tuple[int, str]:
    source = (shared / "data/masks", "--format", "png", "--data", shared / "data")
    return unless_taken(call("import", *source, "-o", folder / "out"), folder / "out/masks")


def unless_taken(told: tuple[int, str], there: Path) -> tuple[int, str]:
    """Count a command as done that is refused since its folder is there: then that is whole."""
    code, text = told
    return (0, "") if code == 2 and there.is_dir() and "new or empty folder" in text else told


SCENARIOS: dict[str, Callable[[Path, Path], tuple[int, str]]] = {
    "generate": lambda folder, shared: generate(
        folder / "out", shared, "--redraw", 1, "--threshold", 0.9
    ),
    "scenes": scenes,
    "merge": lambda folder, shared: call(
        "merge", shared / "first", shared / "second", "-o", folder / "out"
    ),
    "remask": lambda folder, shared: call(
        "remask", shared / "data", "-o", folder / "out", "--threshold", 0.5
    ),
    "augment": lambda folder, shared: call("augment", shared / "data", "-o", folder / "out"),
    "filter": filter_apply,
    "export": export,
    "import": import_masks,
    "verify": lambda folder, shared: call("verify", folder / "broken", "--repair"),
    "upload": lambda folder, shared: call("upload", shared / "data", f"file://{folder / 'out'}"),
    "train": train,
    "segmentator": segmentator,
    "affinity": affinity,
    "lora": lora,
}


def prepare(shared: Path) -> tuple[int, str]:
    """Make what the commands read."""
    dataset(shared / "masks", class_maps(4, (32, 40)))
    first = generate(shared / "first", shared, "--shard", "1/2")
    second = generate(shared / "second", shared, "--shard", "2/2")
    made = max(generate(shared / "data", shared), first, second)
    shutil.copytree(shared / "data", shared / "broken")
    (shared / "broken/images/Bird_000001.png").write_bytes(b"torn")
    (shared / "broken/masks/Stray_000001.png").write_bytes(b"stray")
    shutil.copytree(shared / "data/images", shared / "captioned")
    names = sorted(path.name for path in (shared / "captioned").iterdir())
    lines = [json.dumps({"file_name": name, "text": "a bird"}) for name in names]
    (shared / "captioned/metadata.jsonl").write_text("\n".join(lines))
    return made


class Calls:
    """Counts the calls that write, and ends the process or fills the disk at one of them."""

    def __init__(self, mode: str, nth: int) -> None:
        self.mode = mode
        self.nth = nth
        self.count = 0

    def __call__(self, event: str, args: Sequence[Any]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, int) or not flags & WRITING or str(path).startswith("/dev/"):
                return
        elif event not in (*CHANGES, "os.fsync"):
            return
        self.count += 1
        if self.mode == "kill" and self.count == self.nth:
            os._exit(KILLED)
        if self.mode == "full" and self.count >= self.nth and event in GROWING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run(name: str, folder: Path, shared: Path, calls: Calls) -> dict[str, Any]:
    """Run a command; return its exit code, what it said, and how many of its calls wrote."""
    os.fsync = lambda _: calls("os.fsync", ())  # nobody cuts the power
    sys.addaudithook(calls)
    try:
        code, text = prepare(shared) if name == "prepare" else SCENARIOS[name](folder, shared)
    except BaseException:
        code, text = 1, traceback.format_exc()
    calls.mode = ""  # a hook is there for ever
    return {"code": code, "text": text[-3000:], "count": calls.count}


def run_forked(name: str, folder: Path, shared: Path, calls: Calls) -> dict[str, Any]:
    """Run a command in a process of its own, that may be killed."""
    reader, writer = os.pipe()
    gc.freeze()  # a collection would write to, and so copy, all that the fork shares
    if os.fork() == 0:
        os.write(writer, json.dumps(run(name, folder, shared, calls)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.wait()
    return json.loads(told) if told else {"code": KILLED}


def main() -> None:
    torch.set_num_threads(1)
    models.load, models.fingerprint = cache(models.load), cache(models.fingerprint)
    for line in sys.stdin:
        name, folder, shared, mode, nth = json.loads(line)
        # The first time here, so that the forks have all that is loaded and cached along the way.
        runs = run_forked if nth else run
        print(json.dumps(runs(name, Path(folder), Path(shared), Calls(mode, nth))), flush=True)


if __name__ == "__main__":
    main()
