"""Datasets and trainings of others, parts of which are links that lead out, pipes or hard links."""

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import contents, refused
from formats_data import class_maps, dataset

from diffumask.dataset.annotate import annotate
from diffumask.dataset.encode import encode_item
from diffumask.dataset.listing import read_records
from diffumask.dataset.merge import merge, merged_run
from diffumask.dataset.names import item_name
from diffumask.dataset.parts import FILES, FOLDERS
from diffumask.dataset.quarantine import quarantine
from diffumask.dataset.run import read_run
from diffumask.dataset.store import open_store
from diffumask.dataset.verify import repair, verify
from diffumask.errors import InputError
from diffumask.files import inside
from diffumask.noise.crossval import cross_validate
from diffumask.training.folder import TrainingFolder
from diffumask.training.log import log_line
from diffumask.types import Example, Prompt, Target

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")

SETTINGS = {"model": "none", "keep_maps": False}
CLASSES = {"bird": 3, "cat": 8, "Eiffel Tower": 254}


@pytest.fixture
def data(tmp_path):
    return dataset(tmp_path / "data", class_maps(3))


@pytest.fixture
def outside(tmp_path):
    """A folder of the victim's, with what a part of a dataset could be taken for."""
    folder = dataset(tmp_path / "outside", class_maps(3))
    for name in (*FOLDERS, "0001"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "thesis.tex").write_text("x")
    (folder / ".lock").write_text("not empty")
    for name in FILES:
        if not (folder / name).exists():
            (folder / name).write_text("thesis")
    return folder


def put_aside(path):
    """Remove what is there, to put something else in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_item(store, index=7):
    prompt = Prompt("a bird", (Target("bird", "bird", 3),))
    one = Example(prompt, 1, np.zeros((6, 9, 3), np.uint8), np.zeros((6, 9), np.uint8))
    store.write_batch([encode_item(item_name("bird", i), one, {}) for i in (index, index + 1)])


def commands(data, tmp_path):
    out = tmp_path / "out"
    other = dataset(tmp_path / "other", class_maps(4))
    yield "verify", data
    yield "verify", data, "--repair"
    yield "merge", data, "-o", out
    yield "merge", other, "-o", data
    yield "augment", data, "-o", out
    yield "export", data, "--format", "voc", "-o", out
    yield "filter", data
    yield "show", data, "-o", tmp_path / "page.html"
    yield "show", other, "--against", data, "-o", tmp_path / "page.html"
    yield "upload", data, f"file://{out}"
    yield "remask", data, "-o", out
    yield "train", data, "--model", "upernet-tiny", "-o", out
    yield "lora", "train", "--images", data, "-o", tmp_path / "x.safetensors"


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_no_part_of_a_dataset_may_be_a_link(data, outside, tmp_path, name):
    put_aside(data / name)
    (data / name).symlink_to(outside / name)
    before, own = contents(outside), contents(data)
    for words in commands(data, tmp_path):
        line = refused(*words)
        assert f"{data}" in line
        assert name in line
    for change in (
        lambda: annotate(data, {}),
        lambda: open_store(data, SETTINGS, CLASSES, {}).__enter__(),
    ):
        with pytest.raises(InputError, match="got a link"):
            change()
    assert contents(outside) == before
    assert contents(data) == own


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_stops_nothing(data, name):
    put_aside(data / name)
    os.mkfifo(data / name)
    with pytest.raises(InputError, match="got something else"):
        verify(data)
    with pytest.raises(InputError, match="got something else"), open_store(data, SETTINGS, CLASSES):
        pass


def test_a_pipe_in_place_of_an_image_is_no_item(data, tmp_path):
    put_aside(data / "images/Bird_000001.png")
    os.mkfifo(data / "images/Bird_000001.png")
    assert [one.name for one in read_records(data)] == ["Bird_000000", "Bird_000002"]
    (problem,) = verify(data).problems
    assert problem.message == "expected a file in the folder, got what is no plain file"
    repair(data)
    assert len(read_records(data)) == 2
    assert not verify(data).problems


@pytest.mark.parametrize("name", ["images", ".partial", "metadata.jsonl", ".journal.jsonl"])
def test_a_link_that_is_put_in_while_a_run_writes_is_not_followed(data, outside, name):
    before = contents(outside)
    with open_store(data, SETTINGS, CLASSES, {}) as store:
        shutil.copytree(data, data.with_name("copy"), dirs_exist_ok=True)
        put_aside(data / name)
        (data / name).symlink_to(outside / name)
        if name == ".journal.jsonl":  # it is written anew, in place of the link
            write_item(store)
        else:
            with pytest.raises(InputError, match="expected to write to"):
                write_item(store)
            put_aside(data / name)
            (data.with_name("copy") / name).rename(data / name)
    assert contents(outside) == before


def test_a_link_within_broken_is_not_followed(data, outside):
    before = contents(outside)
    (data / ".broken").mkdir()
    (data / ".broken/0001").symlink_to(outside / "0001")
    (data / "images/Stray_000000.png").write_bytes(b"x")
    assert repair(data).quarantine == data / ".broken/0002"
    (data / ".broken").rename(data / "was")
    (data / ".broken").symlink_to(outside / ".broken")
    with pytest.raises(OSError):  # noqa: PT011 - of which kind, systems differ
        quarantine(data, ["images/Bird_000001.png"])
    assert contents(outside) == before


def test_a_file_with_other_names_is_not_written_into(data, outside, tmp_path):
    before = contents(outside)
    for name in ("metadata.jsonl", "run.json"):
        (data / name).unlink()
        os.link(outside / name, data / name)
    with open_store(data, SETTINGS, CLASSES, {}) as store:
        write_item(store)
    assert len(read_records(data)) == 5
    (data / ".lock").unlink()
    os.link(outside / ".lock", data / ".lock")
    with pytest.raises(InputError, match=r"expected an empty file as .*\.lock"):
        annotate(data, {})
    assert contents(outside) == before


def test_a_copy_of_hard_links_leaves_the_original_as_it_was(data, tmp_path):
    before = contents(data)
    copy = shutil.copytree(data, tmp_path / "copy", copy_function=os.link)
    with open_store(copy, SETTINGS, CLASSES, {}) as store:
        write_item(store)
    annotate(copy, {"Bird_000001": {"verdict": "dropped"}})
    assert len(read_records(copy)) == 5
    assert contents(data) == before


@pytest.mark.parametrize("is_absolute", [False, True])
def test_of_a_link_within_a_dataset_others_get_the_file(data, tmp_path, is_absolute):
    mask, other = data / "masks/Bird_000001.png", data / "masks/Bird_000002.png"
    put_aside(mask)
    mask.symlink_to(other if is_absolute else other.name)
    with open_store(tmp_path / "merged", *merged_run([data])[:2]) as store:
        list(merge([data], store))
    merged = tmp_path / "merged/masks/Bird_000001.png"
    assert not merged.is_symlink()
    assert merged.read_bytes() == other.read_bytes()


def test_links_in_a_training_are_refused(tmp_path, outside):
    before = contents(outside)
    for name in ("log.jsonl", "state.safetensors", "train.json", ".lock"):
        folder = tmp_path / f"training {name}"
        folder.mkdir()
        (folder / name).symlink_to(outside / "run.json")
        with pytest.raises(InputError, match="got the link"):
            TrainingFolder(folder, "diffumask train").check({})
        with pytest.raises(InputError, match="expected to write to"):
            log_line(folder, name, {"step": 1})
        masks = dataset(tmp_path / f"masks {name}", class_maps(2))
        model = ("--model", "upernet-tiny", "--steps", 1, "--size", "32x32", "--device", "cpu")
        assert "the link" in refused("train", masks, *model, "-o", folder)
    assert contents(outside) == before


def test_links_in_the_results_of_a_filter_are_refused(data, outside):
    from diffumask.dataset.dataset import Dataset
    from diffumask.noise.items import summarize_masks
    from diffumask.noise.trial import CrossValidation, Trial

    before = contents(outside)
    source = Dataset.open(data).require_items()
    items = summarize_masks(source)
    folds = {item.name: i % 2 for i, item in enumerate(items)}
    trial = Trial(source, items, folds, CrossValidation(num_folds=2, num_steps=1))
    trial.folder.mkdir(parents=True)
    (trial.folder / "fold_0").symlink_to(outside)
    for use in (lambda: cross_validate(trial, "iou"), lambda: trial.read("iou")):
        with pytest.raises(InputError, match="got the link"):
            use()
    assert contents(outside) == before


def test_folders_are_written_and_links_refused_where_the_system_has_no_descriptors(
    tmp_path, monkeypatch, outside
):
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, "supports_dir_fd", set())
    spec = importlib.util.spec_from_file_location("bare", inside.__file__)
    assert spec is not None
    assert spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    (tmp_path / "folder").mkdir()
    with bare.create(tmp_path / "folder", "file") as file:
        file.write(b"x")
    bare.make_folder(tmp_path / "folder", "below")
    bare.rename(tmp_path / "folder", "file", "below/file")
    assert bare.read_inside(tmp_path / "folder", "below/file") == b"x"
    (tmp_path / "folder/out").symlink_to(outside)
    before = contents(outside)
    for use in (bare.create, bare.open_to_append, bare.read_inside, bare.make_folder, bare.remove):
        with pytest.raises(OSError, match="leads out"):
            use(tmp_path / "folder", "out/run.json")
    assert contents(outside) == before


def test_a_link_to_a_link_out_is_none_within(data, tmp_path, outside):
    put_aside(data / "masks/Bird_000001.png")
    (data / "masks/Bird_000001.png").symlink_to("Bird_000002.png")
    put_aside(data / "masks/Bird_000002.png")
    (data / "masks/Bird_000002.png").symlink_to(outside / "masks/Bird_000002.png")
    assert [one.name for one in read_records(data)] == ["Bird_000000"]
    assert read_run(data).classes == CLASSES
    assert not Path(tmp_path / "merged").exists()
