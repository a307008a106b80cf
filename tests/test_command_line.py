"""What is the same in every command: short names, help, completion, values that are refused."""

import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer.main
from commands import call, done, refused
from formats_data import class_maps, dataset

from diffumask.api import values
from diffumask.api.option import PANELS, Option, Options, option_fields
from diffumask.api.progress import log, progress
from diffumask.api.result import Result
from diffumask.api.use_case import use_case
from diffumask.cli.app import COMMANDS, app
from diffumask.cli.command import as_command
from diffumask.cli.other_names import OTHER_NAMES, other_name
from diffumask.cli.typer_command import Command
from diffumask.formats.registry import FORMATS
from diffumask.labelled.layouts import LAYOUTS
from diffumask.masks.refine import MODEL_REFINERS, REFINERS
from diffumask.models import DTYPES, MODELS
from diffumask.noise.quality import METHODS
from diffumask.recipe.heat import THRESHOLDS
from diffumask.recipe.preset import NONE, shipped_presets
from diffumask.segmentation import NETWORKS
from diffumask.segmentator.facts import DESIGNS
from diffumask.segmentator.heads import HEADS

HEAVY = {"torch", "numpy", "cv2", "scipy", "PIL", "transformers", "diffusers", "rich.console"}
GROUP: Any = typer.main.get_command(app)


def commands() -> dict[str, Any]:
    """The commands as the shell sees them, by their names."""
    found = {}
    for name in COMMANDS:
        one = GROUP
        for word in name.split():
            one = one.commands[word]
        found[name] = one
    return found


def completed(line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    words = f"diffumask {line}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    asked |= {"_DIFFUMASK_COMPLETE": "complete_bash"}
    return call(env=asked, prog_name="diffumask").stdout.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_short_names_are_the_same_in_every_command(name):
    shorts = {
        short: param.opts[0]
        for param in commands()[name].params
        for short in param.opts
        if re.fullmatch("-[A-Za-z]", short)
    }
    every = {"-q": "--quiet", "-v": "--verbose", "-V": "--version"}
    names = {field.name for field in option_fields(COMMANDS[name].options_class)}
    own = {f"-{one[0]}": f"--{one}" for one in ("n", "out") if one in names}
    assert {short: shorts[short] for short in shorts if short != "-h"} == every | own
    assert done(*name.split(), "-h") == done(*name.split(), "--help")
    assert done(*name.split(), "-V") == done("-V") == done("--version")


def test_python_runs_the_command_line():
    program = [sys.executable, "-m", "diffumask", "--version"]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert told.startswith("diffumask 0.")


def test_the_line_of_each_command_is_whole_and_ends_without_dots(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["affinity"], ["lora"], ["segmentator"]):
        rows = done(*words, "--help").partition("Commands:\n")[2].splitlines()
        assert rows
        for row in rows:
            assert re.match(r"  [a-z]+  ", row), row  # no summary takes two lines
            assert not row.endswith(".")


def test_the_options_of_generate_stand_in_panels():
    shown = done("generate", "--help")
    headings = re.findall(r"^(\w[\w ]+):$", shown, re.MULTILINE)
    assert headings == ["What", "Model", "Masks", "Output", "Machines", "Every command"]
    where = {heading: shown.index(f"\n{heading}:") for heading in headings}
    assert where["What"] < shown.index("--class") < where["Model"] < shown.index("--lora ")
    assert where["Masks"] < shown.index("--refiner") < where["Output"] < shown.index("--out")
    assert where["Every command"] < shown.index("--config") < shown.index("--help")
    panels = {field.panel for field in option_fields(COMMANDS["train"].options_class)}
    assert panels <= set(PANELS)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("generate --steps", "--num-inference-steps"),
        ("generate --cfg", "--guidance-scale"),
        ("generate --count", "--n"),
        ("generate --output", "--out"),
        ("generate --clas", "--class"),
        ("train --epochs", "--steps"),
        ("evaluate --output", "--out"),
        ("lora train --lr", "--learning-rate"),
    ],
)
def test_an_unknown_option_is_pointed_to_the_one_that_is_meant(typed, named):
    line = refused(*typed.split(), 3)
    name, _, option = typed.rpartition(" ")
    assert line == (
        f"diffumask: expected an option of {name}, got {option!r}; did you mean {named}? "
        "-h lists all"
    )


def test_an_unknown_option_unlike_any_is_refused_without_a_guess():
    assert refused("verify", "--zzzz") == (
        "diffumask: expected an option of verify, got '--zzzz'; -h lists all"
    )


def test_names_of_other_tools_lead_to_options_that_there_are():
    known = {name for one in commands().values() for param in one.params for name in param.opts}
    assert set(OTHER_NAMES) <= known
    assert other_name("--steps", ["--out"]) is None


@dataclass(frozen=True, kw_only=True)
class TalkOptions(Options):
    """How often."""

    n: Annotated[int, Option("Times.", least=1)] = 1
    seed: Annotated[int, Option("Seed.", least=0)] = 0


@use_case(TalkOptions)
def talk(options: TalkOptions) -> Result[None]:
    """Talk."""
    log.info("a notice")
    log.warning("a warning")
    log.debug("a detail")
    with progress("talk", options.n) as advance:
        advance(options.n)
    return Result(None, "done", {})


@pytest.fixture
def say():
    """Call the command that talks."""
    from typer.testing import CliRunner

    small = typer.Typer()
    small.command(cls=Command)(as_command(talk))
    return lambda *words: CliRunner().invoke(small, list(words), catch_exceptions=False)


def test_quiet_shows_the_result_alone_and_verbose_shows_details(say):
    plain, quiet, verbose = say(), say("-q"), say("-v")
    assert [one.stdout for one in (plain, quiet, verbose)] == ["done\n"] * 3
    assert quiet.stderr == ""
    assert "a notice" in plain.stderr
    assert "1/1" in plain.stderr
    assert "a detail" not in plain.stderr
    assert re.search(r"^\d\d:\d\d:\d\d a detail$", verbose.stderr, re.MULTILINE)
    assert log.level == logging.NOTSET


def test_quiet_shows_no_bar_on_a_terminal(say, monkeypatch):
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True)
    assert "1/1" in say().stderr
    assert say("-q").stderr == ""


def test_verbose_shows_where_a_refusal_comes_from_and_quiet_the_line_alone(say):
    assert say("-q", "-n", "0").stderr == "diffumask: expected n of 1 or more, got 0\n"
    assert "Traceback" in say("-v", "-n", "0").stderr
    assert "expected quiet or verbose, got both" in say("-q", "-v").stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_seed_below_zero_and_a_count_below_one_are_refused_everywhere(name):
    for field in option_fields(COMMANDS[name].options_class):
        if "seed" in field.field:
            assert field.option.least == 0
        if field.field in {"n", "batch_size", "objects", "pictures"} and field.option.least is None:
            assert name in {"train", "filter", "lora train", "segmentator train"}  # by settings
    seed = next((f for f in option_fields(COMMANDS[name].options_class) if f.field == "seed"), None)
    if seed is not None:
        assert seed.option.least == 0


FOLDERS = {
    "remask": "LOST -o new",
    "calibrate": "--class bird --data LOST --reference masks:x -o t.json",
    "doctor": "--data LOST",
    "augment": "LOST -o new",
    "filter": "LOST",
    "train": "LOST --model upernet-tiny -o new",
    "evaluate": "--data LOST --predictions .",
    "show": "LOST",
    "export": "LOST --format voc -o new",
    "import": "LOST --format png --data . -o new",
    "verify": "LOST",
    "merge": "LOST -o new",
    "upload": "LOST elsewhere",
    "affinity train": "--data LOST -o new",
    "lora train": "--images LOST -o new.safetensors",
    "segmentator train": "--data LOST -o new.safetensors",
    "segmentator predict": "LOST --segmentator head.safetensors -o new",
    "segmentator evaluate": "--data LOST --segmentator head.safetensors",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_path_that_is_not_there_is_called_that(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("head.safetensors").touch()
    line = refused(*name.split(), *FOLDERS[name].replace("LOST", "no/such/place").split())
    assert line.endswith("got 'no/such/place', which is not there")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["head.safetensors"]


def test_values_are_those_of_what_they_name():
    assert tuple(FORMATS) == values.FORMATS
    assert set(values.READ_FORMATS) == {name for name, one in FORMATS.items() if one.read}
    assert ("auto", *REFINERS, *(f"{one}:" for one in MODEL_REFINERS)) == values.REFINERS
    assert ("auto", *LAYOUTS) == values.LAYOUTS
    assert ("auto", *DTYPES) == values.DTYPES
    assert set(values.HEADS) == set(HEADS) == set(DESIGNS)
    assert set(values.NETWORKS) == set(NETWORKS)
    assert tuple(METHODS) == values.METHODS
    assert ("auto", *THRESHOLDS) == values.THRESHOLDS
    assert (NONE, *shipped_presets()) == values.PRESETS


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("generate --model s", [name for name in MODELS if name[0] == "s"]),
        ("generate --refiner crf", ["crf", "crf-wide"]),
        ("generate --vocabulary t", ["tiny"]),
        ("generate --preset s", ["sd15", "sd21"]),
        (
            "generate --mask-source attention",
            ["attention", *(f"attention+{one}:" for one in ("clipseg", "sam", "sam2", "sam3"))],
        ),
        ("generate --class po", ["potted-plant"]),
        ("generate --model sd15 --class bi", ["bicycle", "bird"]),
        (
            "generate --vocabulary cityscapes --class tr",
            ["traffic-light", "traffic-sign", "truck", "train"],
        ),
        ("generate --gpu A1", ["A10", "A100"]),
        ("generate --device c", ["cpu", "cuda"]),
        ("export d --format yolo", ["yolo", "yolo-detect"]),
        ("import m --format c", ["cvat", "coco"]),
        ("train --model up", ["upernet-tiny"]),
        ("evaluate --layout ca", ["camvid"]),
        ("segmentator train --head p", ["pyramid"]),
    ],
)
def test_values_are_completed(line, offered):
    assert completed(line) == offered


def test_classes_of_the_data_are_completed(tmp_path):
    data = dataset(tmp_path / "data", class_maps(1))
    assert completed(f"affinity train --data {data} --class b") == ["bird"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_loads_nothing_heavy(shell):
    program = "import sys, atexit\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    program += "from diffumask.cli.app import app\napp(prog_name='diffumask')"
    line = "diffumask generate --class bir"
    asked = {
        "_DIFFUMASK_COMPLETE": f"complete_{shell}",
        **{"COMP_WORDS": line, "COMP_CWORD": "3"},
        **{"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }
    ended = subprocess.run(
        [sys.executable, "-c", program], env=asked, capture_output=True, text=True
    )
    assert "bird" in ended.stdout
    assert not set(ended.stderr.split()) & HEAVY
