import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from commands import call, done, refused

from diffumask.api.list_prompts import list_prompts
from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.generation.plan import plan


def printed(*words):
    return done("prompts", *words).splitlines()


@pytest.fixture
def make(tmp_path, tiny_random_folder):
    """Call generate on the random model with the least work; the folder is `out`."""
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 2]
    words = ["--model", tiny_random_folder, *small, "--out", tmp_path / "out"]
    return lambda *more: call("generate", *words, *more)


@pytest.fixture
def prompt_file(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": "a bird and a cat on grass", "class": ["bird", "cat"], "context": "on grass"},
        {"prompt": "a sitting cat", "class": "cat"},
        {"prompt": "a bird in the street", "class": "bird"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("more", [[], ["--objects", 2]])
def test_the_prompts_are_those_of_generate(make, tmp_path, more):
    words = ["--class", "bird", "--class", "potted plant", "--vocabulary", "tiny", "--seed", 3]
    result = make(*words, *more, "--n", 2)
    assert result.exit_code == 0, result.output
    lines = printed(*words, *more, "-n", 2, "--format", "jsonl")
    shown = {(one["class"], one["index"]): one for one in map(json.loads, lines)}
    records = read_records(tmp_path / "out")
    assert len(records) == len(shown) == 4
    for record in records:
        expected = shown[record.fields["class"], record.fields["index"]]
        assert {key: record.fields[key] for key in expected} == expected
    assert printed(*words, *more, "-n", 2) == [json.loads(line)["prompt"] for line in lines]


def test_seeds_and_order_are_those_of_the_plan():
    lines = list_prompts(classes=["bird", "cat"], n=3, format="jsonl", seed=7)
    shown = [(one["class"], one["index"], one["seed"]) for one in map(json.loads, lines)]
    items = plan(["bird", "cat"], 3, 7)
    assert shown == [(item.class_name, item.index, item.seed) for item in items]


def test_every_object_of_a_prompt_may_be_labelled(make, tmp_path):
    result = make("--class", "cat", "--vocabulary", "tiny", "--objects", 2, "--n", 3)
    assert result.exit_code == 0, result.output
    run_file = read_run(tmp_path / "out")
    assert run_file.settings["objects"] == 2
    for record in read_records(tmp_path / "out"):
        example = read_example(tmp_path / "out", record)
        first, second = record.fields["targets"]
        assert (first["class"], record.fields["class"]) == ("cat", "cat")
        assert run_file.classes[second["class"]] == second["class_id"]
        assert len(record.fields["thresholds"]) == 2
        assert example.class_map.shape == (16, 24)
        allowed = {0, 255, first["class_id"], second["class_id"]}
        assert set(np.unique(example.class_map)) <= allowed
    assert (tmp_path / "out/preview.jpg").is_file()
    assert (
        "another objects (2, now 3)"
        in make("--class", "cat", "--vocabulary", "tiny", "--objects", 3, "--n", 1).stderr
    )


def test_a_dataset_of_open_classes_grows(make, tmp_path):
    assert make("--class", "Eiffel Tower", "--n", 1).exit_code == 0
    first = read_run(tmp_path / "out").classes
    assert list(first) == ["Eiffel Tower"]
    result = make("--class", "narwhal", "--class", "bird", "--class", "eiffel tower", "--n", 1)
    assert result.exit_code == 0, result.output
    classes = read_run(tmp_path / "out").classes
    assert classes.items() > first.items()
    assert list(classes) == ["Eiffel Tower", "narwhal", "bird"]
    assert len(set(classes.values())) == 3
    names = {record.fields["file_name"] for record in read_records(tmp_path / "out")}
    assert "images/EiffelTower_000000.png" in names
    assert len(names) == 3


def test_a_class_whose_files_another_has_already_is_refused(make):
    assert make("--class", "café", "--n", 1).exit_code == 0
    result = make("--class", "caf", "--open", "--n", 1)
    assert result.exit_code == 2
    assert "expected classes whose files differ in name, got 'café' and 'caf'" in result.stderr


def test_prompts_of_a_file_make_a_dataset_that_goes_on(make, tmp_path, prompt_file):
    result = make("--prompts", prompt_file, "--n", 2)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    settings = read_run(out).settings
    assert settings["prompts"] == "mine.jsonl"
    assert len(settings["prompts_fingerprint"]) == 12
    by_name = {(one.fields["class"], one.fields["index"]): one for one in read_records(out)}
    assert by_name["bird", 0].fields["prompt"] == "a bird and a cat on grass"
    assert [one["class_id"] for one in by_name["bird", 0].fields["targets"]] == [3, 8]
    assert by_name["bird", 1].fields["prompt"] == "a bird in the street"
    assert (
        by_name["cat", 1].fields["prompt"] == by_name["cat", 0].fields["prompt"] == "a sitting cat"
    )
    assert make("--prompts", prompt_file, "--class", "cat", "--n", 3).exit_code == 0
    assert len(read_records(out)) == 5
    prompt_file.write_text(prompt_file.read_text().replace("sitting", "standing"))
    result = make("--prompts", prompt_file, "--n", 3)
    assert result.exit_code == 2
    assert "got another prompts_fingerprint" in result.stderr


def test_captions_make_a_dataset(make, tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text(
        "A bird on a street light\nthe cat in the snow\na white bird standing on grass\n"
    )
    result = make("--class", "bird", "--captions", path, "--n", 3)
    assert result.exit_code == 0, result.output
    assert read_run(tmp_path / "out").settings["captions"] == "captions.txt"
    records = read_records(tmp_path / "out")
    shown = printed("--class", "bird", "--captions", path, "--vocabulary", "voc", "-n", 3)
    assert [record.fields["prompt"] for record in records] == shown
    assert set(shown) <= {"A bird on a street light", "a white bird standing on grass"}
    assert refused("prompts", "--class", "dog", "--captions", path).endswith(
        "expected captions with 'dog' in captions.txt, got none; use another file"
    )


def test_printed_records_are_a_file_of_prompts(tmp_path):
    words = ["--class", "car", "--class", "narwhal", "--model", "sd15", "--objects", 2]
    lines = printed(*words, "-n", 3, "--format", "jsonl")
    path = tmp_path / "kept.jsonl"
    path.write_text("\n".join(lines))
    again = printed("--prompts", path, "--model", "sd15", "-n", 3, "--format", "jsonl")
    assert again == lines


def test_the_balance_is_told_for_each_class():
    words = ["--class", "bird", "--class", "cat", "-n", 30, "--balance"]
    text = "\n".join(printed(*words))
    assert "bird: 30 prompts, 8 sub-classes (evenness 0." in text
    assert "cat: 30 prompts, 2 sub-classes" in text
    first, second = map(json.loads, printed(*words, "--format", "jsonl"))
    assert (first["class"], second["class"]) == ("bird", "cat")
    assert sum(first["contexts"].values()) == sum(one[2] for one in first["pairs"]) == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a class or a file of prompts, got neither"),
        (["--class", "bird", "--objects", 0], "expected objects of 1 or more, got 0"),
        (["--class", "bird", "--objects", 99], "expected at most 27 objects"),
        (["--class", "narwhal"], "vocabulary 'tiny', got 'narwhal'"),
        (["--class", "narwhal", "--open"], "vocabulary 'tiny', got 'narwhal'"),
        (
            ["--class", "brid", "--vocabulary", "voc"],
            "'bird'? the option open makes it",
        ),
        (["--prompts", "lost.txt"], "expected a file of prompts, got lost.txt: No such file"),
        (["--prompts", "lost.txt", "--objects", 2], "got prompts and objects; choose one"),
        (["--captions", "lost.txt"], "expected a class or a file of prompts, got neither"),
        (["--captions", "lost.txt", "--class", "bird"], "text file of captions, got lost.txt"),
        (["--captions", "a", "--prompts", "b", "--class", "bird"], "prompts and captions;"),
    ],
)
@pytest.mark.parametrize("command", ["prompts", "generate"])
def test_bad_input_is_one_line_before_any_model_is_loaded(command, words, message, monkeypatch):
    monkeypatch.setattr("diffumask.models.load", pytest.fail)
    assert message in refused(command, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", "bird", "-n", 0], "expected n of 1 or more, got 0"),
        (["--class", "bird", "--format", "xml"], "expected a format text or jsonl, got 'xml'"),
    ],
)
def test_bad_options_of_prompts_are_one_line(words, message):
    assert message in refused("prompts", *words)


def test_the_lines_of_the_page_work(tmp_path, monkeypatch, clip_folder, gpt2_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip-vit-large-patch14").symlink_to(clip_folder)
    (tmp_path / "gpt2").symlink_to(gpt2_folder)
    (tmp_path / "mine.txt").write_text("a bird and a cat\na cat\n")
    (tmp_path / "mine.csv").write_text("prompt,class\na dog and a cat,dog;cat\n")
    (tmp_path / "captions.txt").write_text("my dog at home\n")
    page = Path(__file__).parent.parent / "docs/prompts.md"
    lines = [line for line in page.read_text("utf-8").splitlines() if line[:9] == "diffumask"]
    assert len(lines) == 17
    for line in lines:
        command, _, kept = line.removeprefix("diffumask ").partition(" > ")
        words = shlex.split(command)
        if words[0] == "generate":  # takes the same options for prompts, and a model
            words = ["prompts", *words[1 : words.index("--out")]]
            if "--negative-prompt" in words:  # which is of images alone
                at = words.index("--negative-prompt")
                del words[at : at + 2]
        result = call(*words)
        assert result.exit_code == 0, (line, result.output)
        assert result.stdout
        if kept:
            Path(kept).write_text(result.stdout)


def test_the_vocabulary_of_the_page_is_one(tmp_path):
    page = Path(__file__).parent.parent / "docs/prompts.md"
    toml = page.read_text("utf-8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "mine.toml").write_text(toml)
    (line,) = printed("--vocabulary", tmp_path / "mine.toml", "--class", "hound", "-n", 1)
    assert " dog " in line
