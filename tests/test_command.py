"""What all commands share: --config, --json, exit codes, colours and completion."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass

import pytest
import typer
from commands import call
from formats_data import class_maps, dataset
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from diffumask.api.option import Options
from diffumask.api.progress import progress
from diffumask.api.result import Result
from diffumask.api.use_case import UseCase
from diffumask.cli.command import as_command
from diffumask.cli.config_file import CONFIG_FILE, write_config
from diffumask.files.toml import to_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def data(tmp_path):
    return dataset(tmp_path / "data", class_maps(3))


@pytest.fixture
def config(tmp_path):
    def write(text):
        (tmp_path / "options.toml").write_text(text, "utf-8")
        return tmp_path / "options.toml"

    return write


def test_options_of_a_file_count_unless_typed(data, tmp_path, config):
    file = config(f'folder = "{data}"\nn = 2\nseed = 1\ncopy-paste = 0\nsplice = 0.5\nall = true')
    made = call("augment", "--config", file, "-o", tmp_path / "out", "--n", 1, "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout) == {
        "command": "augment",
        "folder": str(tmp_path / "out"),
        "items": 1,
        "asked": 1,
    }
    kept = tomllib.loads((tmp_path / "out" / CONFIG_FILE).read_text("utf-8"))
    assert kept["folder"] == str(data)
    assert kept["out"] == str(tmp_path / "out")
    assert (kept["n"], kept["seed"], kept["splice"], kept["all"]) == (1, 1, 0.5, True)
    assert kept["blur"] == 0.3


def test_a_command_is_repeated_from_what_its_folder_keeps(data, tmp_path):
    call("augment", data, "-o", tmp_path / "out", "--n", 1)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    again = call("augment", "--config", tmp_path / "out" / CONFIG_FILE)
    assert again.exit_code == 0, again.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


def test_underscores_and_single_values_of_lists_will_do(config):
    file = config('class = "bird"\nopen = false\nn = 1')
    assert call("prompts", "--config", file).exit_code == 0
    file = config('class = ["bird", "cat"]\ncaption_ranking = "text"\nn = 1')
    assert len(call("prompts", "--config", file).stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("guidence_scale = 3", "got 'guidence_scale'; did you mean 'guidance-scale'?"),
        ("config = 'x'", "expected options of this command in "),
        ("json = true", "expected options of this command in "),
        ("n = true", "expected a whole number as n in "),
        ("n = 1.5", "expected a whole number as n in "),
        ("keep-maps = 1", "expected true or false as keep-maps in "),
        ("guidance-scale = 'x'", "expected a number as guidance-scale in "),
        ("class = [1, {}]", "expected a list of text as class in "),
        ("out = ['a']", "expected text as out in "),
        ("[generate]\nn = 1", "got 'generate'"),
        ("batch-size = 1\nbatch_size = 2", "expected 'batch-size' once in "),
        ("n = ", "expected options in TOML, got "),
    ],
)
def test_what_is_no_option_is_refused_in_one_line(config, text, message):
    refused = call("generate", "--config", config(text))
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("diffumask: expected ")
    assert message in line
    assert refused.stdout == ""


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    refused = call("generate", "--config", tmp_path / "lost.toml")
    assert refused.exit_code == 2
    assert refused.stderr.endswith("lost.toml: No such file or directory\n")


@given(st.dictionaries(st.sampled_from(["a", "b-c"]), st.one_of(TEXTS, st.lists(TEXTS))))
def test_options_are_read_back_as_they_were_kept(options):
    assert tomllib.loads(to_toml(options)) == options


@given(st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)))
def test_numbers_are_read_back_as_they_were_kept(value):
    (back,) = tomllib.loads(to_toml({"x": value})).values()
    assert (back, type(back)) == (value, type(value))


def test_a_file_of_the_user_stays(tmp_path):
    (tmp_path / CONFIG_FILE).write_text("mine = 1\n")
    write_config(tmp_path, "generate", {"n": 2})
    assert (tmp_path / CONFIG_FILE).read_text() == "mine = 1\n"


def test_verify_tells_what_is_wrong_as_json_and_by_its_exit_code(data):
    whole = call("verify", data, "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["problems"]) == (0, [])
    (data / "masks/Bird_000001.png").unlink()
    broken = call("verify", data, "--json")
    told = json.loads(broken.stdout)
    assert (broken.exit_code, told["whole_items"]) == (1, 2)
    assert [one["where"] for one in told["problems"]] == ["masks/Bird_000001.png"]
    assert call("verify", data / "lost", "--json").exit_code == 2


@dataclass(frozen=True)
class Nothing(Options):
    """No options."""


def test_ctrl_c_is_130():
    def stopped(options: Options) -> Result[None]:
        """Stop."""
        raise KeyboardInterrupt

    app = typer.Typer()
    app.command()(as_command(UseCase(Nothing, stopped)))
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 130
    assert result.stderr == "diffumask: stopped\n"


def test_what_a_library_prints_is_no_result():
    def talking(options: Options) -> Result[None]:
        """Talk."""
        print("by the way")
        return Result(None, "done", {"n": 1})

    app = typer.Typer()
    app.command()(as_command(UseCase(Nothing, talking)))
    result = CliRunner().invoke(app, ["--json"])
    assert json.loads(result.stdout)["n"] == 1
    assert result.stderr == "by the way\n"


def test_no_color_has_no_colours(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress("masks", 2) as advance:
        advance(2)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert not re.search(r"\x1b\[(?:[0-9;]*;)?3[0-8]", shown)


def test_the_shell_completes_commands_and_options():
    program = [
        sys.executable,
        "-c",
        "from diffumask.cli.app import app; app(prog_name='diffumask')",
    ]
    for typed, wanted in (("diffumask gen", "generate"), ("diffumask verify --re", "--repair")):
        asked = {
            "_DIFFUMASK_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        }
        done = subprocess.run(program, env=os.environ | asked, capture_output=True, text=True)
        assert done.stdout.split() == [wanted]


def test_help_names_what_all_commands_have():
    assert "--install-completion" in call("--help").stdout
    for words in (["verify"], ["affinity", "train"]):
        shown = call(*words, "--help").stdout
        assert "--config" in shown
        assert "--json" in shown
