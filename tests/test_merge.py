import json
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import call, done, refused
from hypothesis import given
from hypothesis import strategies as st

from diffumask.dataset.encode import encode_item
from diffumask.dataset.listing import read_records
from diffumask.dataset.merge import merge, merged_run, missing_shards
from diffumask.dataset.names import item_name
from diffumask.dataset.run import read_run
from diffumask.dataset.shards import Shard, parse_shard
from diffumask.dataset.store import open_store
from diffumask.dataset.verify import verify
from diffumask.errors import InputError
from diffumask.types import Example, Prompt, Target

SETTINGS = {"seed": 0, "threshold": "otsu"}
CLASSES = {"bird": 3, "cat": 8}
contents = partial(commands.contents, but=("config.toml",))


def encoded(name: str, level: int = 0):
    image = np.full((2, 3, 3), level or hash_of(name), np.uint8)
    prompt = Prompt("a bird", (Target("bird", "bird", 3),))
    return encode_item(
        name, Example(prompt, 1, image, np.array([[0, 3, 3], [0, 0, 3]], np.uint8)), {}
    )


def hash_of(name: str) -> int:
    return sum(name.encode()) % 256


def write(folder: Path, names, settings=SETTINGS, classes=CLASSES, notes=None, level=0) -> Path:
    with open_store(folder, settings, classes, notes or {"n": 5}) as store:
        store.write_batch([encoded(name, level) for name in names])
    return folder


def joined(folders, out: Path) -> Path:
    settings, classes, notes = merged_run(folders)
    with open_store(out, settings, classes, *notes) as store:
        list(merge(folders, store))
    return out


def plan(n: int) -> list[str]:
    return [item_name(name, index) for index in range(n) for name in ("bird", "cat")]


@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 5))
def test_shards_share_all_items_out_and_keep_batches_whole(n, count, batch_size):
    parts = [list(Shard(i + 1, count).of(range(n), batch_size)) for i in range(count)]
    assert sorted(item for part in parts for item in part) == list(range(n))
    batches = [tuple(range(n)[k : k + batch_size]) for k in range(0, n, batch_size)]
    cut = [tuple(p[k : k + batch_size]) for p in parts for k in range(0, len(p), batch_size)]
    assert sorted(cut) == batches


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1 / 2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="expected"):
        parse_shard(text)
    assert str(parse_shard("2/8")) == "2/8"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_merged_shards_are_the_single_run_byte_for_byte(tmp_path, count):
    single = write(tmp_path / "single", plan(5))
    folders = []
    for index in range(1, count + 1):
        shard = Shard(index, count)
        notes = {"n": 5} | ({"shard": str(shard)} if count > 1 else {})
        folders.append(write(tmp_path / f"{index}", shard.of(plan(5), 3), notes=notes))
    before = [contents(folder) for folder in folders]
    out = joined(folders, tmp_path / "out")
    assert contents(out) == contents(single)
    assert [contents(folder) for folder in folders] == before
    assert verify(out).problems == ()
    joined(folders, out)
    assert contents(out) == contents(single)


def test_a_merged_file_is_a_link_unless_a_copy_is_asked_for(tmp_path):
    source = write(tmp_path / "a", ["Bird_000000"])
    path = "images/Bird_000000.png"
    joined([source], tmp_path / "linked")
    assert (tmp_path / "linked" / path).samefile(source / path)
    with open_store(tmp_path / "copied", SETTINGS, CLASSES) as store:
        list(merge([source], store, copy=True))
    assert not (tmp_path / "copied" / path).samefile(source / path)
    assert contents(tmp_path / "copied")[path] == contents(source)[path]


def test_where_links_cannot_be_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    source = write(tmp_path / "a", ["Bird_000000"])
    out = joined([source], tmp_path / "out")
    assert contents(out) == contents(source)


def test_a_merge_that_was_cut_short_never_writes_into_its_source(tmp_path):
    source = write(tmp_path / "a", ["Bird_000000"])
    out = joined([source], tmp_path / "out")
    before = contents(source)
    (out / "metadata.jsonl").unlink()  # the files are there, the line is not
    joined([source], out)
    assert contents(source) == before
    assert contents(out) == before


def test_other_settings_and_class_ids_are_refused_by_name(tmp_path):
    one = write(tmp_path / "a", [])
    other = write(tmp_path / "b", [], settings=SETTINGS | {"seed": 5})
    with pytest.raises(InputError, match=r"same settings in .*, got seed \(0 and 5\); merge"):
        merged_run([one, other])
    third = write(tmp_path / "c", [], classes={"bird": 4})
    with pytest.raises(InputError, match=r"same class ids in .*, got bird \(3 and 4\)"):
        merged_run([one, third])
    fourth = write(tmp_path / "d", [], classes={"dog": 9})
    assert merged_run([one, fourth])[1] == CLASSES | {"dog": 9}


def test_different_items_of_one_name_are_refused_before_anything_is_written(tmp_path):
    one = write(tmp_path / "a", ["Bird_000000", "Bird_000001"])
    other = write(tmp_path / "b", ["Bird_000001"], level=7)
    with pytest.raises(InputError, match="expected one item Bird_000001, got different"):
        joined([one, other], tmp_path / "out")
    assert read_records(tmp_path / "out") == []
    same = write(tmp_path / "c", ["Bird_000001"])
    assert len(read_records(joined([one, same], tmp_path / "out"))) == 2


def test_a_merge_goes_on_with_shards_that_came_later(tmp_path):
    folders = [
        write(tmp_path / f"{i}", Shard(i, 3).of(plan(5), 2), notes={"n": 5, "shard": f"{i}/3"})
        for i in (1, 2, 3)
    ]
    assert list(map(str, missing_shards(folders[:1]))) == ["2/3", "3/3"]
    joined(folders[:1], tmp_path / "out")
    joined(folders, tmp_path / "out")
    assert missing_shards(folders) == []
    assert contents(tmp_path / "out") == contents(write(tmp_path / "single", plan(5)))


def test_the_commands_make_of_shards_what_one_run_makes(tmp_path, tiny_random_folder):
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 2]
    words = ["generate", "--model", tiny_random_folder, *small, "--n", 3]
    words += ["--class", "bird", "--class", "Eiffel Tower"]
    single, parts = tmp_path / "single", [tmp_path / "1", tmp_path / "2"]
    done(*words, "--out", single)
    for index, part in enumerate(parts, 1):
        done(*words, "--out", part, "--shard", f"{index}/2")
        assert len(read_records(part)) == {1: 4, 2: 2}[index]
    out = tmp_path / "out"
    first = done("merge", parts[0], "-o", out)
    assert first == f"4 items in {out}, without the shards 2/2; look at {out}/preview.jpg\n"
    assert done("merge", *parts, "-o", out).startswith(f"6 items in {out};")
    assert contents(out) == contents(single)
    assert "shard" not in json.dumps(read_run(out).to_json())

    assert "expected another folder" in refused("merge", *parts, "-o", parts[0])
    line = refused(*words, "--out", single, "--resume", "never")
    assert f"expected no items in {single} where a run is never resumed, got 6" in line
    assert call(*words, "--out", single, "--resume", "later").exit_code == 2
