"""Every example of docs/commands.md runs as it stands there, but for sizes."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import done

from diffumask.cli.app import app

PAGE = (Path(__file__).parent.parent / "docs/commands.md").read_text("utf-8")
# What makes an example quick; the last of an option counts.
SMALL = {
    "generate": "--n 3 --num-inference-steps 1 --height 32 --width 40 --batch-size 4",
    "calibrate": "--n 2",
    "doctor": "--n 1 --num-inference-steps 1 --pictures 2 --height 32 --width 40",
    "augment": "--n 2",
    "filter": "--steps 1 --folds 2 --batch-size 2",
    "train": "--steps 1 --batch-size 2 --workers 1",
    "evaluate": "--workers 1",
    "affinity train": "--steps 1",
    "lora train": "--steps 1 --rank 1 --batch-size 1 --resolution 32x40",
    "segmentator train": "--steps 1 --batch-size 2 --views 1 --size 32",
}


def examples():
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def commands():
    apps: dict[str, Any] = {f"{one.name} ": one.typer_instance for one in app.registered_groups}
    return {
        before + (one.name or one.callback.__name__)
        for before, inner in [("", app), *apps.items()]
        for one in inner.registered_commands
    }


def name_of(words):
    return next(name for name in (" ".join(words[:2]), words[0]) if name in commands())


def test_every_command_has_an_example_and_a_line():
    assert {name_of(words) for words in examples()} == commands()
    for name in commands():
        assert f"`{name}` " in PAGE or f"`{name}`, " in PAGE or name.startswith("segmentator")


def test_examples_run(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    for words in examples():
        name = name_of(words)
        small = shlex.split(SMALL.get(name, ""))
        assert json.loads(done(*words, *small, "--json"))["command"] == name
    for folder in ("birds", "birds-otsu", "more-birds", "birds-corrected", "merged", "network"):
        assert (tmp_path / folder / "config.toml").is_file()
