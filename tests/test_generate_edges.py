"""What generate says of folders, settings and classes before anything is loaded."""

import json
import shutil
import subprocess
import sys
import tomllib

import pytest
from commands import call, contents, done, refused
from filelock import FileLock

from diffumask.api.result import look_at
from diffumask.attention.defaults import EVERY_MATRIX, MATRIX_STRIDES
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run

SMALL = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 2]
HEAVY = {"torch", "diffusers", "transformers"}


@pytest.fixture
def words(tmp_path, tiny_random_folder):
    """A call of generate on the random model with the least work; the folder is `out`."""
    return ["generate", "--model", tiny_random_folder, *SMALL, "--out", tmp_path / "out"]


@pytest.fixture(scope="module")
def a_bird(tmp_path_factory, tiny_random_folder):
    """The folder of a call for one bird, as `words` makes it; read only."""
    out = tmp_path_factory.mktemp("made") / "out"
    done(
        "generate", "--model", tiny_random_folder, *SMALL, "--out", out, "--class", "bird", "-n", 1
    )
    return out


@pytest.fixture
def bird(a_bird, tmp_path):
    """Leave one bird in the folder of `words`."""
    return shutil.copytree(a_bird, tmp_path / "out")


@pytest.fixture
def unloaded(monkeypatch):
    """No model is loaded."""
    import diffumask.generation.job

    monkeypatch.setattr(diffumask.generation.job, "load", pytest.fail)


def test_the_default_folder_names_the_model_and_what_is_asked_for(
    tmp_path, monkeypatch, tiny_random_folder
):
    monkeypatch.chdir(tmp_path)
    more = ["--model", tiny_random_folder, "--n", 1, *SMALL]
    for typed, name in (
        (["Eiffel Tower"], "Eiffel-Tower"),
        (["parrot"], "parrot-bird"),
        (["cat", "--class", "dog"], "cat-and-1-more"),
    ):
        done("generate", "--class", *typed, *more)
        assert (tmp_path / "diffumask-out/tiny_random" / name / "run.json").is_file()


def test_a_smaller_number_says_what_is_there_and_leaves_the_options_kept(words, tmp_path):
    out = tmp_path / "out"
    assert done(*words, "--class", "bird", "-n", 3).startswith(f"3 items in {out};")
    kept = (out / "config.toml").read_bytes()
    said = done(*words, "--class", "bird", "-n", 1)
    assert said.startswith(f"3 items in {out}, the 1 asked for among them;")
    assert (out / "config.toml").read_bytes() == kept
    facts = json.loads(done(*words, "--class", "bird", "-n", 2, "--json"))
    assert (facts["items"], facts["asked"]) == (3, 2)
    assert done(*words, "--class", "bird", "-n", 4).startswith(f"4 items in {out};")
    assert tomllib.loads((out / "config.toml").read_text("utf-8"))["n"] == 4


def test_a_folder_of_an_earlier_version_goes_on_with_self_attention_of_all_steps(words, bird):
    path = bird / "run.json"
    tree = json.loads(path.read_text("utf-8"))
    assert tuple(tree["settings"].pop("matrix_strides")) == MATRIX_STRIDES
    path.write_text(json.dumps(tree), "utf-8")
    assert done(*words, "--class", "bird", "-n", 2).startswith(f"2 items in {bird};")
    assert read_run(bird).matrix_strides == EVERY_MATRIX
    assert "matrix_strides" not in read_run(bird).settings


def test_fewer_scenes_of_augment_leave_the_options_kept(a_bird, tmp_path):
    out = tmp_path / "scenes"
    again = ["augment", a_bird, "-o", out]
    done(*again, "-n", 3)
    kept = (out / "config.toml").read_bytes()
    assert done(*again, "-n", 1).startswith(f"3 items in {out}, the 1 asked for among them;")
    assert (out / "config.toml").read_bytes() == kept


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--dtype", "float16"], "another dtype ('float32', now 'float16')"),
        (["--height", 24], "another height (16, now 24)"),
        (["--num-inference-steps", 2], "another num_inference_steps (1, now 2)"),
        (["--class", "parrot"], "another sub_classes (None, now {'bird': ['parrot']})"),
        (["--keep-maps"], "another keep_maps (False, now True)"),
        (["--device", "nowhere"], "a device of this machine, got 'nowhere'"),
        (["--resume", "never"], "expected no items in"),
        (["--mask-source", "clipseg:lost"], "got 'lost'"),
        (["--refiner", "sam:lost"], "got 'lost'"),
    ],
)
def test_what_a_folder_refuses_is_told_before_the_model_is_loaded_and_by_a_dry_run(
    words, more, message, bird, monkeypatch
):
    monkeypatch.setattr("diffumask.models.devices.computes_in", lambda *_: True)
    more = [*more, *([] if "parrot" in more else ["--class", "bird"]), "-n", 2]
    before = contents(bird)
    monkeypatch.setattr("diffumask.generation.job.load", pytest.fail)
    line = refused(*words, *more)
    assert message in line
    assert refused(*words, *more, "--dry-run") == line
    assert contents(bird) == before


def test_an_option_that_is_left_out_again_is_a_conflict_told_before_loading(words, monkeypatch):
    done(*words, "--class", "bird", "-n", 1, "--redraw", 1)
    monkeypatch.setattr("diffumask.generation.job.load", pytest.fail)
    line = refused(*words, "--class", "bird", "-n", 1)
    assert "another redraw (1, now None)" in line
    assert refused(*words, "--class", "bird", "-n", 1, "--dry-run") == line


@pytest.mark.usefixtures("unloaded")
def test_a_folder_of_something_else_or_in_use_is_refused_before_loading(words, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    dry = [*words, "--class", "bird", "--dry-run"]
    with FileLock(out / ".lock"):
        line = refused(*words, "--class", "bird")
        assert "got another run that writes to it" in line
        assert refused(*dry) == line
    (out / "mine.txt").touch()
    line = refused(*words, "--class", "bird")
    assert f"got {out} with 'mine.txt' in it" in line
    assert refused(*dry) == line
    file = [*words[:-1], out / "mine.txt"]
    assert "is no folder" in refused(*file, "--class", "bird")


@pytest.mark.usefixtures("unloaded")
def test_a_dry_run_writes_nothing_and_says_what_a_run_would_do(words, tmp_path):
    said = done(*words, "--class", "bird", "-n", 4, "--dry-run")
    assert said.startswith(f"items   4 planned, 0 in {tmp_path / 'out'}, 4 to make")
    assert list(tmp_path.iterdir()) == []


def test_disk_is_told_by_items_of_the_same_model_and_size_alone(words, tmp_path):
    done(*words, "--class", "bird", "-n", 2)
    records = read_records(tmp_path / "out")
    each = sum(one["bytes"] for record in records for one in record.files.values()) / 2
    told = json.loads(done(*words, "--class", "bird", "-n", 4, "--dry-run", "--json"))
    assert told["disk_bytes"] == 2 * each
    other = ["generate", "--class", "bird", "--model", "sd15", "--out", tmp_path / "out"]
    assert "another model ('tiny_random', now 'sd15')" in refused(*other, "--dry-run")


@pytest.mark.parametrize("typed", [["--class", "brid"], ["--model", "sd1.5"], ["--seed", "1"]])
@pytest.mark.usefixtures("bird")
def test_a_refusal_that_needs_no_torch_loads_none(words, typed):
    program = "import sys, atexit\natexit.register(lambda: print(*sys.modules))\n"
    program += "from diffumask.cli.app import main\nmain()"
    typed = [*words, *([] if "--class" in typed else ["--class", "bird"]), *typed]
    command = [sys.executable, "-c", program, *map(str, typed)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("diffumask: expected ")
    assert not set(ended.stdout.split()) & HEAVY


def test_classes_that_are_asked_for_are_combined(words, tmp_path):
    cats = ["--class", "bird", "--class", "cat", "--objects", 2]
    result = call(*words, *cats, "-n", 3)
    assert result.exit_code == 0, result.stderr
    assert "others are classes" not in result.stderr
    out = tmp_path / "out"
    assert read_run(out).classes == {"bird": 3, "cat": 8}
    for record in read_records(out):
        assert {target["class"] for target in record.fields["targets"]} == {"bird", "cat"}
    assert "another objects_of (['bird', 'cat'], now ['bird', 'dog'])" in refused(
        *words, "--class", "bird", "--class", "dog", "--objects", 2
    )


def test_that_others_come_in_beside_one_class_is_one_line():
    result = call("prompts", "--class", "bird", "--objects", 2, "-n", 3)
    assert result.stderr == (
        "2 objects a prompt, of 1 class asked for: the others are classes of the vocabulary tiny\n"
    )


def test_a_sub_class_finds_its_class(words, tmp_path):
    done(*words, "--class", "parrot", "-n", 4)
    out = tmp_path / "out"
    assert read_run(out).classes == {"bird": 3}
    assert read_run(out).settings["sub_classes"] == {"bird": ["parrot"]}
    for record in read_records(out):
        assert "parrot bird" in record.fields["prompt"]
        assert (record.fields["class"], record.fields["sub_class"]) == ("bird", "parrot")


def test_a_sheet_is_named_only_where_there_is_one(tmp_path):
    assert look_at(tmp_path) == ""
    (tmp_path / "preview.jpg").touch()
    assert look_at(tmp_path) == f"; look at {tmp_path / 'preview.jpg'}"


def test_one_item_is_an_item(words, bird, tmp_path):
    out = bird
    assert done(*words, "--class", "bird", "-n", 1).startswith(f"1 item in {out};")
    assert done("verify", out) == f"1 whole item in {out}, nothing wrong\n"
    assert done("upload", out, tmp_path / "place").startswith("1 item in ")
    assert done("show", out, "-o", tmp_path / "page.html").startswith("1 item in ")
    assert done("export", out, "--format", "cvat", "-o", tmp_path / "e").startswith("1 item in ")


@pytest.mark.parametrize("place", ["sub", ".", "file://{out}/sub"])
def test_a_dataset_is_not_uploaded_into_itself(bird, place):
    before = contents(bird)
    url = place.format(out=bird) if "://" in place else bird / place
    assert f"expected a new folder outside of {bird}" in refused("upload", bird, url)
    assert contents(bird) == before


def test_folders_keep_what_they_were_asked_for(words, bird):
    (bird / "config.toml").unlink()
    done(*words, "--class", "bird", "-n", 1)
    assert tomllib.loads((bird / "config.toml").read_text("utf-8"))["class"] == ["bird"]
