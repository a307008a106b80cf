"""What export, train and show leave out of a dataset, and that they say so."""

import json

import pytest
from commands import call
from formats_data import class_maps, dataset

from diffumask.dataset.left_out import left_out

QUICK = ("--steps", 1, "--batch-size", 2, "--size", "32x32", "--device", "cpu", "--workers", 0)


def told(*words):
    """The text and the facts of a command that ends well."""
    text, facts = call(*words), call(*words, "--json")
    assert text.exit_code == 0, text.output
    return text.stdout, json.loads(facts.stdout or "{}").get("left_out")


@pytest.fixture
def data(tmp_path):
    """Five items, of which one is dropped, one has no mask, and one has a torn line."""
    folder = dataset(tmp_path / "data", class_maps(5, (32, 40)), dropped=["Bird_000001"])
    (folder / "masks/Bird_000002.png").unlink()
    lines = (folder / "metadata.jsonl").read_text().splitlines(keepends=True)
    lines[3] = lines[3][:50] + "\n"
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


def test_export_says_what_it_leaves_out(data, tmp_path):
    text, _ = told("export", data, "--format", "voc", "-o", tmp_path / "out")
    assert "items in" in text
    expected = (
        f"left out of {data}: 1 dropped by filter, 1 broken (Bird_000002), no record in "
        f"1 line; see what diffumask verify {data} says"
    )
    assert expected in text.splitlines()
    text, _ = told("export", data, "--format", "voc", "--all", "-o", tmp_path / "all")
    assert "dropped" not in text
    whole = dataset(tmp_path / "whole", class_maps(2))
    text, _ = told("export", whole, "--format", "voc", "-o", tmp_path / "more")
    assert "left out" not in text


def test_train_says_what_it_leaves_out_of_each_folder(data, tmp_path):
    whole = dataset(tmp_path / "whole", class_maps(2, (32, 40)))
    words = ("train", data, "--also", whole, "--model", "upernet-tiny", *QUICK, "-o")
    text, facts = told(*words, tmp_path / "out")
    assert "trained on 4 images (1 dropped left out)" in text
    assert text.count("left out of") == 1
    assert (
        f"left out of {data}: 1 dropped by filter, 1 broken (Bird_000002), no record in 1 line"
        in text
    )
    (one,) = facts
    assert (one["dropped"], one["broken"], one["lines"]) == (["Bird_000001"], ["Bird_000002"], 1)


def test_show_shows_the_broken_items_too_and_says_so(data, tmp_path):
    damaged = data / "images/Bird_000004.png"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 :][:8] = bytes(8)
    damaged.write_bytes(bytes(content[: len(content) // 2]) + bytes(len(content) // 2 + 1))
    (data / "images/Bird_000000.png").write_bytes(b"x")
    words = ("show", data, "-o", tmp_path / "page.html")
    text = call(*words).stdout
    facts = json.loads(call(*words, "--json").stdout)
    assert text.startswith("4 items in")
    assert list(facts["broken"]) == ["Bird_000000", "Bird_000002", "Bird_000004"]
    assert "3 broken (Bird_000000, Bird_000002, Bird_000004), shown as such" in text
    assert "1 line that is no record" in text
    (data / "images/Bird_000001.png").write_bytes(b"x")
    assert call("show", data, "-o", tmp_path / "none.html").exit_code == 2
    assert not (tmp_path / "none.html").exists()


def test_a_dropped_item_that_is_wanted_and_a_whole_dataset_leave_nothing_out(tmp_path):
    folder = dataset(tmp_path / "data", class_maps(2), dropped=["Bird_000001"])
    assert left_out(folder).dropped == ("Bird_000001",)
    assert not left_out(folder, with_dropped=True)


def test_a_wrong_line_that_a_later_one_replaces_leaves_nothing_out(tmp_path):
    folder = dataset(tmp_path / "data", class_maps(2))
    lines = (folder / "metadata.jsonl").read_text("utf-8")
    wrong = json.loads(lines.splitlines()[0]) | {"targets": []}
    (folder / "metadata.jsonl").write_text(f"{json.dumps(wrong)}\n{lines}", "utf-8")
    assert not left_out(folder)
