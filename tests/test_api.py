"""The use cases as functions of Python."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from commands import call, refused
from hypothesis import given
from hypothesis import strategies as st

import diffumask
from diffumask.api.option import Option, Options, StrPath, option_fields
from diffumask.api.progress import progress
from diffumask.api.result import Result
from diffumask.api.use_case import UseCase, use_case
from diffumask.cli.app import COMMANDS
from diffumask.dataset.run import read_run
from diffumask.errors import InputError

ROOT = Path(__file__).parent.parent
FLAG = re.compile(r"(^|\s)--[a-z]")
SMALL: dict[str, Any] = {"num_inference_steps": 1, "height": 16, "width": 24, "batch_size": 2}


@dataclass(frozen=True, kw_only=True)
class Shared(Options):
    device: Annotated[str, Option("Where.")] = "auto"


@dataclass(frozen=True, kw_only=True)
class CopyOptions(Shared):
    source: Annotated[StrPath, Option("What.", positional=True)]
    times: Annotated[int, Option("How often.")] = 1
    share: Annotated[float | None, Option("How much.", default="all")] = None
    limit: Annotated[str | float, Option("A number or a word.")] = "auto"
    names: Annotated[Sequence[str], Option("Which.", name="name")] = ()
    is_deep: Annotated[bool, Option("Whether deep.")] = False


@use_case(CopyOptions)
def copy(options: CopyOptions) -> Result[int]:
    """Copy something.

    Returns how often. Raises InputError for nothing.
    """
    return Result(options.times, f"{options.times} copies", {"times": options.times})


def use_cases():
    return {
        name: one for name in dir(diffumask) if isinstance(one := getattr(diffumask, name), UseCase)
    }


def test_every_command_has_its_function_and_every_function_its_command():
    functions = {one.__name__: one for one in use_cases().values()}
    assert functions == {one.__name__: one for one in COMMANDS.values()}
    assert set(functions) == set(use_cases())


def test_importing_loads_nothing_heavy_and_the_commands_neither():
    program = "import sys, diffumask, diffumask.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "diffumask.api.generate" in loaded
    assert not loaded & {"numpy", "torch", "cv2", "PIL", "scipy", "transformers", "rich.progress"}


def test_names_that_are_none_are_refused_and_those_that_are_listed_are_there():
    with pytest.raises(AttributeError, match="no attribute 'generat'"):
        _ = diffumask.generat
    assert {"generate", "capture", "observe", "open_dataset", "InputError"} <= set(dir(diffumask))
    for name in dir(diffumask):
        assert getattr(diffumask, name) is not None


@pytest.mark.parametrize("path", sorted((ROOT / "diffumask").rglob("*.py")), ids=str)
def test_the_library_neither_prints_nor_exits(path):
    if path.name == "__main__.py" or path.parent.name == "tiny":  # programs of their own
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"print", "exit", "sys.exit", "os._exit"}


@pytest.mark.parametrize("path", sorted((ROOT / "diffumask").rglob("*.py")), ids=str)
def test_the_library_names_no_flags_of_commands(path):
    if path.name == "__main__.py" or path.parent.name == "tiny":  # programs of their own
        return
    tree = ast.parse(path.read_text("utf-8"))
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [node.value for node in nodes if isinstance(node.value, str) and node not in prose]
    # Cards, which have several lines, are documents for people who use commands.
    assert not [text for text in texts if FLAG.search(text) and "\n" not in text]


def test_a_notebook_shows_progress_in_one_line_that_changes(monkeypatch, capfd):
    shown = []
    show = lambda data, raw: shown.append(data["text/plain"])  # noqa: E731
    handle = SimpleNamespace(display=show, update=show)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(
        sys.modules, "IPython.display", SimpleNamespace(DisplayHandle=lambda: handle)
    )
    with progress("masks", 4, 1) as advance:
        advance(1)
        advance(2)
    counts = [line.partition(",")[0] for line in shown]
    assert counts == ["", "masks 1/4", "masks 2/4", "masks 4/4"]
    assert capfd.readouterr() == ("", "")


def test_a_use_case_returns_its_value_and_its_command_the_text():
    assert copy(source="a", times=3) == 3
    assert copy.run(CopyOptions(source=Path("a"))).text == "1 copies"
    assert copy.summary == "Copy something."
    assert "times: How often. Default: 1." in (copy.__doc__ or "")
    assert "share: How much. Default: all." in (copy.__doc__ or "")


def test_options_are_listed_positional_first_and_then_those_of_the_class_itself():
    fields = option_fields(CopyOptions)
    assert [one.name for one in fields] == [
        "source",
        "times",
        "share",
        "limit",
        "name",
        "is-deep",
        "device",
    ]
    assert [one.kind for one in fields] == [Path, int, float, str, str, bool, str]
    assert [one.is_list for one in fields] == [False] * 4 + [True] + [False] * 2
    assert [one.is_required for one in fields] == [True] + [False] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": "3"}, "expected a whole number as times, got '3'"),
        ({"times": True}, "expected a whole number as times, got True"),
        ({"times": None}, "expected a whole number as times, got None"),
        ({"share": "much"}, "expected a number as share, got 'much'"),
        ({"limit": [1]}, r"expected text as limit, got \[1\]"),
        ({"names": "bird"}, "expected a list of text as name, got 'bird'"),
        ({"names": ["bird", 3]}, "expected a list of text as name, got 3"),
        ({"is_deep": 1}, "expected true or false as is-deep, got 1"),
        ({"source": 3}, "expected a path as source, got 3"),
        ({"source": "a\udcff"}, "expected names in UTF-8"),
    ],
)
def test_values_of_another_kind_are_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        copy(**{"source": "a", **options})


@given(st.one_of(st.none(), st.floats(allow_nan=False), st.integers()))
def test_numbers_are_taken_as_numbers(value):
    assert copy(source="a", share=value) == 1


def test_a_function_makes_what_its_command_makes(tmp_path, tiny_random_folder):
    model = str(tiny_random_folder)
    birds = diffumask.generate(classes=["bird"], n=3, model=model, out=tmp_path / "a", **SMALL)
    assert birds.folder == tmp_path / "a"
    words = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 2]
    call("generate", "--class", "bird", "--n", 3, "--model", model, *words, "--out", tmp_path / "b")
    made = {one.name: one.read_bytes() for one in (tmp_path / "a").rglob("*.*") if one.is_file()}
    also = {one.name: one.read_bytes() for one in (tmp_path / "b").rglob("*.*") if one.is_file()}
    assert also.pop("config.toml")  # of the command alone
    assert made == also


def test_a_folder_of_another_model_is_found_before_that_model_is_looked_for(
    tmp_path, tiny_random_folder
):
    out = tmp_path / "out"
    words: dict[str, Any] = {"classes": ["bird"], "n": 1, "out": out, **SMALL}
    diffumask.generate(model=str(tiny_random_folder), **words)
    with pytest.raises(InputError, match=r"got another model \('.*', now 'nobody/nothing'\)"):
        diffumask.generate(model="nobody/nothing", **words)
    with pytest.raises(InputError, match=r"got another .*threshold"):
        diffumask.generate(model=str(tiny_random_folder), threshold=0.5, **words)
    assert len(read_run(out).runs) == 1


def test_notices_go_to_the_log_and_nothing_is_printed(tmp_path, tiny_random_folder, capfd, caplog):
    caplog.set_level("INFO", "diffumask")
    model = str(tiny_random_folder)
    diffumask.generate(classes=["bird"], n=1, model=model, out=tmp_path / "out", **SMALL)
    assert [one for one in caplog.messages if one.startswith("model ")]
    assert caplog.messages[-1].startswith("images 1/1, ")
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_is_told_with_the_state(tmp_path, tiny_random_folder, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffumask.generation.pipeline.sample_batch", stopped)
    with pytest.raises(KeyboardInterrupt, match="out has 0 of 1 item; run again"):
        diffumask.generate(
            classes=["bird"], n=1, model=str(tiny_random_folder), out=tmp_path / "out", **SMALL
        )


def test_the_json_of_a_command_is_the_facts(tmp_path):
    made = call("prompts", "--class", "bird", "-n", 2, "--json")
    lines = diffumask.list_prompts(classes=["bird"], n=2)
    assert json.loads(made.stdout) == {"command": "prompts", "lines": lines}
    assert "expected n of 1 or more, got 0" in refused("prompts", "--class", "bird", "-n", 0)
