import errno
import json
import os

import numpy as np
import pytest
from commands import contents
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from diffumask.dataset.annotate import annotate
from diffumask.dataset.decode import read_example
from diffumask.dataset.encode import encode_item
from diffumask.dataset.listing import read_records
from diffumask.dataset.names import ITEM_NAME, item_name
from diffumask.dataset.run import read_run
from diffumask.dataset.store import open_store
from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.files import atomic
from diffumask.types import Example, Prompt, Target

SETTINGS = {"model": "tiny", "seed": 0, "threshold": "otsu"}
CLASSES = {"bird": 3}
NOTES = {"n": 2, "versions": {"torch": "2"}}


def example(seed=1, class_name="bird", class_id=3):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    class_map = np.array([[0, class_id, 0], [255, class_id, 0]], np.uint8)
    target = Target(class_name, class_name, class_id)
    prompt = Prompt(f"a photo of a {class_name} on grass", (target,), "", "on grass")
    return Example(prompt, seed, image, class_map, {"area": 0.25})


def opened(folder, settings=SETTINGS, classes=CLASSES, notes=NOTES):
    return open_store(folder, settings, classes, notes)


def fill(folder, *names, **options):
    with opened(folder, **options) as store:
        for name in names:
            store.write(name, example(), {"index": 0})
    return folder


def listed(folder):
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    return [json.loads(line)["file_name"] for line in lines]


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("bird", "Bird_000012"),
        ("potted plant", "PottedPlant_000012"),
        ("tvMonitor", "TvMonitor_000012"),
        ("../../etc/passwd", "EtcPasswd_000012"),
        ("7-up", "7Up_000012"),
    ],
)
def test_items_are_named_after_their_class(class_name, name):
    assert item_name(class_name, 12) == name


@given(st.text(max_size=40), st.integers(0, 10**7))
def test_no_class_name_makes_a_path(class_name, index):
    try:
        name = item_name(class_name, index)
    except InputError:
        name = item_name("x", index)
    assert ITEM_NAME.fullmatch(name)


def test_an_item_reads_back_as_it_was_written(tmp_path):
    fill(tmp_path, "Bird_000000")
    (record,) = read_records(tmp_path)
    back, written = read_example(tmp_path, record), example()
    np.testing.assert_array_equal(back.image, written.image)
    np.testing.assert_array_equal(back.class_map, written.class_map)
    assert (back.prompt, back.seed, back.scores) == (written.prompt, 1, {"area": 0.25})
    assert record.fields["mask_file_name"] == "masks/Bird_000000.png"


def test_masks_are_palette_pngs_in_voc_colours(tmp_path):
    fill(tmp_path, "Bird_000000")
    with PillowImage.open(tmp_path / "masks/Bird_000000.png") as mask:
        assert mask.mode == "P"
        assert mask.getpixel((1, 0)) == 3
        assert mask.convert("RGB").getpixel((1, 0)) == tuple(voc_palette()[3].tolist())
        assert mask.getpixel((0, 1)) == 255


def test_the_folder_holds_what_it_says_and_nothing_partial(tmp_path):
    fill(tmp_path, "Bird_000001", "Bird_000000")
    found = set(contents(tmp_path))
    items = {f"{kind}/Bird_00000{i}.png" for kind in ("images", "masks") for i in (0, 1)}
    assert found == items | {"metadata.jsonl", "run.json", ".lock"}
    assert listed(tmp_path) == ["images/Bird_000000.png", "images/Bird_000001.png"]


def test_run_json_is_there_before_the_first_item(tmp_path):
    with opened(tmp_path / "new" / "folder") as store:
        run = read_run(store.folder)
    assert run.settings == SETTINGS
    assert run.classes == CLASSES
    assert run.runs == (NOTES,)


def test_a_second_run_keeps_the_items_and_may_add_classes(tmp_path):
    fill(tmp_path, "Bird_000000")
    with opened(tmp_path, classes={"cat": 8}, notes={"n": 9}) as store:
        assert list(store.records) == ["Bird_000000"]
    assert read_run(tmp_path).classes == {"bird": 3, "cat": 8}
    assert read_run(tmp_path).runs == (NOTES, {"n": 9})


def test_opening_again_changes_no_byte(tmp_path):
    before = contents(fill(tmp_path, "Bird_000000"))
    assert contents(fill(tmp_path)) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": SETTINGS | {"seed": 5}}, r"another seed \(0, now 5\)"),
        (
            {"settings": SETTINGS | {"seed": 5, "threshold": 0.4}},
            r"seed \(0, now 5\), threshold \('otsu', now 0.4\)",
        ),
        ({"settings": {"seed": 0, "threshold": "otsu"}}, r"model \('tiny', now None\)"),
        ({"classes": {"bird": 4}}, r"bird \(3, now 4\)"),
    ],
)
def test_other_settings_are_refused_by_name_and_change_nothing(tmp_path, options, message):
    before = contents(fill(tmp_path, "Bird_000000"))
    with pytest.raises(InputError, match=message), opened(tmp_path, **options):
        pass
    assert contents(tmp_path) == before


def test_settings_can_change_while_no_item_is_finished(tmp_path):
    fill(tmp_path, settings=SETTINGS | {"seed": 5})
    fill(tmp_path, "Bird_000000")
    assert read_run(tmp_path).settings == SETTINGS


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="with 'thesis"), opened(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="expected to write to"), opened(tmp_path / "out"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1}', "\x00"])
def test_a_damaged_run_json_is_refused(tmp_path, content):
    (fill(tmp_path) / "run.json").write_text(content)
    with pytest.raises(InputError, match="in format 1, got something else"), opened(tmp_path):
        pass
    assert (tmp_path / "run.json").read_text() == content


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    with (
        opened(tmp_path),
        pytest.raises(InputError, match="another run that writes to it"),
        opened(tmp_path),
    ):
        pass


def test_an_item_whose_file_is_gone_is_no_longer_listed(tmp_path):
    fill(tmp_path, "Bird_000000", "Bird_000001")
    (tmp_path / "masks/Bird_000000.png").unlink()
    with opened(tmp_path) as store:
        assert list(store.records) == ["Bird_000001"]
        assert listed(tmp_path) == ["images/Bird_000001.png"]


@pytest.mark.parametrize("torn", ['{"file_na', "\x00\x00", "[1]", "null", '{"file_name": 3}'])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    fill(tmp_path, "Bird_000000")
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write(torn)
    assert len(read_records(tmp_path)) == 1
    with opened(tmp_path):
        assert listed(tmp_path) == ["images/Bird_000000.png"]


def test_a_record_cannot_lead_out_of_the_folder(tmp_path):
    fill(tmp_path, "Bird_000000")
    line = (tmp_path / "metadata.jsonl").read_text()
    (tmp_path / "metadata.jsonl").write_text(
        line.replace("images/Bird", "../../Other") + line.replace("Bird_000000", "../x")
    )
    assert read_records(tmp_path) == []


def test_what_a_killed_run_left_is_cleared(tmp_path):
    (fill(tmp_path) / ".partial").mkdir()
    (tmp_path / ".partial/Bird_000000.png").write_text("half")
    fill(tmp_path, "Bird_000000")
    assert not (tmp_path / ".partial").exists()
    assert len(read_records(tmp_path)) == 1


@pytest.mark.parametrize("nth_sync", [1, 2, 3])
def test_a_full_disk_is_one_line_and_leaves_the_finished_items(tmp_path, monkeypatch, nth_sync):
    syncs = iter(range(1, 100))
    fsync = os.fsync

    def full(descriptor):
        if next(syncs) == nth_sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    fill(tmp_path, "Bird_000000")
    with opened(tmp_path) as store:
        monkeypatch.setattr(atomic.os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device; free some") as caught:
            store.write("Bird_000001", example(), {})
        assert "\n" not in str(caught.value)
        assert list(store.records) == ["Bird_000000"]
        assert listed(tmp_path) == ["images/Bird_000000.png"]
    assert not list(tmp_path.rglob(".partial"))


@pytest.mark.parametrize("nth_sync", range(1, 10))
def test_of_a_batch_that_a_full_disk_cuts_short_nothing_is_listed(tmp_path, monkeypatch, nth_sync):
    syncs = iter(range(1, 100))

    def full(_):
        if next(syncs) == nth_sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fill(tmp_path, "Bird_000000")
    with opened(tmp_path) as store:
        monkeypatch.setattr(atomic.os, "fsync", full)
        with pytest.raises(InputError, match="No space left"):
            store.write_batch([encode_item(f"Bird_00000{i}", example(), {}) for i in (1, 2)])
        assert list(store.records) == ["Bird_000000"]
        assert [record.name for record in read_records(tmp_path)] == ["Bird_000000"]
        monkeypatch.setattr(atomic.os, "fsync", lambda _: None)
    assert listed(tmp_path) == ["images/Bird_000000.png"]
    assert not list(tmp_path.glob(".journal*"))


@pytest.mark.parametrize("kept_bytes", [0, 10, 700, 900])
def test_a_batch_whose_lines_a_kill_cut_short_is_whole_by_its_journal(tmp_path, kept_bytes):
    before = contents(fill(tmp_path, "Bird_000000", "Bird_000001"))
    lines = (tmp_path / "metadata.jsonl").read_bytes()
    (tmp_path / ".journal.jsonl").write_bytes(lines)
    (tmp_path / "metadata.jsonl").write_bytes(lines[:kept_bytes])
    assert len(read_records(tmp_path)) == 2
    fill(tmp_path)
    assert contents(tmp_path) == before


def test_what_was_set_in_a_line_is_not_lost_to_a_journal(tmp_path):
    fill(tmp_path, "Bird_000000", "Bird_000001")
    old = (tmp_path / "metadata.jsonl").read_bytes()
    annotate(tmp_path, {"Bird_000001": {"verdict": "dropped"}})
    (tmp_path / ".journal.jsonl").write_bytes(old)
    assert [record.verdict for record in read_records(tmp_path)] == [None, "dropped"]


def test_a_torn_file_is_set_aside_and_its_item_made_again(tmp_path):
    before = contents(fill(tmp_path, "Bird_000000", "Bird_000001"))
    (tmp_path / "images/Bird_000001.png").write_bytes(b"\x89PNG")
    assert len(read_records(tmp_path)) == 1
    fill(tmp_path, "Bird_000001")
    after = contents(tmp_path)
    assert after.pop(".broken/0001/images/Bird_000001.png") == b"\x89PNG"
    assert after == before


def test_a_line_that_is_written_by_half_is_taken_back(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one\n")

    class Half(bytes):
        def __len__(self):
            return 100

    with pytest.raises(OSError, match="No space"):
        atomic.append(tmp_path, path.name, Half(b"two"))
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder_is_one_line(tmp_path, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with (
        pytest.raises(InputError, match=f"{os.strerror(code)}; choose another folder"),
        opened(tmp_path / "out"),
    ):
        pass


@pytest.mark.parametrize("name", ["bird_1", "../Bird_000001", "Bird_000001.png", "Bird_00000١"])
def test_a_name_that_item_name_did_not_make_is_refused(tmp_path, name):
    with opened(tmp_path) as store, pytest.raises(ValueError, match="made by item_name"):
        store.write(name, example(), {})


def test_an_item_may_show_two_classes(tmp_path):
    one = example()
    two = Prompt("a bird and a cat", (Target("bird", "bird", 3), Target("cat", "cat", 8)))
    with opened(tmp_path) as store:
        store.write("Bird_000000", Example(two, 1, one.image, one.class_map), {})
    (record,) = read_records(tmp_path)
    assert (record.fields["class"], record.fields["class_id"]) == ("bird", 3)
    assert read_example(tmp_path, record).prompt == two


@pytest.mark.parametrize("class_name", ["bird", "train", "test"])
def test_datasets_loads_the_folder(tmp_path, class_name):
    datasets = pytest.importorskip("datasets")
    name = item_name(class_name, 0)
    with opened(tmp_path / "train") as store:
        store.write(name, example(class_name=class_name), {"index": 0})
        store.write_preview(example().image)
    loaded = datasets.load_dataset(
        "imagefolder",
        data_dir=str(tmp_path / "train"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    (row,) = loaded
    assert row["class"] == class_name
    assert row["mask"].mode == "P"
    np.testing.assert_array_equal(np.array(row["mask"]), example().class_map)
    np.testing.assert_array_equal(np.array(row["image"]), example().image)


def test_facts_are_set_in_the_lines_of_items_and_nothing_else_changes(tmp_path):
    fill(tmp_path, "Bird_000000", "Bird_000001")
    before, records = contents(tmp_path), read_records(tmp_path)
    annotate(tmp_path, {"Bird_000001": {"verdict": "dropped"}})
    assert read_records(tmp_path) == [records[0], records[1].changed({"verdict": "dropped"})]
    after = contents(tmp_path)
    assert {name for name in before if after[name] != before[name]} == {"metadata.jsonl"}
    with pytest.raises(KeyError):
        annotate(tmp_path, {"Bird_000009": {"verdict": "kept"}})


def test_empty_folders_that_a_kill_left_block_nothing(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    fill(tmp_path, "Bird_000000")
    assert len(read_records(tmp_path)) == 1
    (tmp_path / "other/images").mkdir(parents=True)
    (tmp_path / "other/images/thesis.png").write_bytes(b"x")
    with pytest.raises(InputError, match="with 'images' in it"):
        fill(tmp_path / "other", "Bird_000000")
