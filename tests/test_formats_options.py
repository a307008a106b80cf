"""What there is to choose in an export: ids, splits, and palette or grey masks."""

import json
from collections import Counter
from functools import partial
from io import BytesIO

import commands
import cv2
import numpy as np
import pytest
from formats_data import CLASSES, class_maps, dataset, values_of
from PIL import Image as PillowImage

from diffumask import extra
from diffumask.dataset.listing import read_records
from diffumask.errors import InputError
from diffumask.formats.items import select, split_of, stratified_splits

NEW_IDS = {0: 0, 3: 1, 8: 2, 254: 3, 255: 255}


export = partial(commands.call, "export")


@pytest.fixture
def data(tmp_path):
    return dataset(tmp_path / "data", class_maps(4))


def exported(data, out, *words):
    commands.done("export", data, "-o", out, "--split", "1", *words)
    return out


def renumbered(class_map):
    return np.vectorize(NEW_IDS.__getitem__)(class_map)


# ids


def test_hf_has_as_many_labels_as_its_highest_id(data, tmp_path):
    out = exported(data, tmp_path / "out", "--format", "hf")
    labels = json.loads((out / "id2label.json").read_bytes())
    assert list(map(int, labels)) == list(range(len(labels)))
    assert labels == {"0": "background", "1": "bird", "2": "cat", "3": "Eiffel Tower"}
    rows = extra.load("datasets").load_dataset(
        str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    for row in rows:
        assert np.array_equal(np.array(row["mask"]), renumbered(class_maps(4)[row["name"]]))
        assert row["class_id"] == json.loads(row["metadata"])["class_id"] == 1
        assert {one["class_id"] for one in json.loads(row["metadata"])["targets"]} == {1}


@pytest.mark.parametrize(
    ("name", "contiguous"), [("hf", True), ("webdataset", True), ("png", False), ("voc", False)]
)
def test_ids_are_contiguous_where_they_are_trained_with_as_they_are(
    data, tmp_path, name, contiguous
):
    names = {"hf": "id2label.json", "voc": "labelmap.txt"}
    written = names.get(name, "classes.json")
    kept, new = (
        exported(data, tmp_path / ids, "--format", name, "--ids", ids) / written
        for ids in ("keep", "contiguous")
    )
    unasked = exported(data, tmp_path / "out", "--format", name) / written
    assert kept.read_bytes() != new.read_bytes()
    assert unasked.read_bytes() == (new if contiguous else kept).read_bytes()


@pytest.mark.parametrize(("name", "folder"), [("png", "masks"), ("voc", "SegmentationClass")])
def test_contiguous_ids_are_in_masks_as_well_as_in_names(data, tmp_path, name, folder):
    out = exported(data, tmp_path / "out", "--format", name, "--ids", "contiguous")
    for item, class_map in class_maps(4).items():
        assert np.array_equal(values_of(out / folder / f"{item}.png"), renumbered(class_map))
    if name == "png":
        ids = json.loads((out / "classes.json").read_bytes())
        assert ids == {"bird": 1, "cat": 2, "Eiffel Tower": 3}
    else:
        lines = (out / "labelmap.txt").read_text("utf-8").splitlines()
        assert lines[1:5] == [
            "background:0,0,0::",
            "bird:128,0,0::",
            "cat:0,128,0::",
            "Eiffel Tower:128,128,0::",
        ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # left open by it
def test_contiguous_ids_are_in_shards(data, tmp_path):
    out = exported(data, tmp_path / "out", "--format", "webdataset")
    webdataset = extra.load("webdataset")
    indices = webdataset.handle_extension(
        "seg.png", lambda png: np.array(PillowImage.open(BytesIO(png)))
    )
    shard = webdataset.WebDataset(str(out / "train-000000.tar"), shardshuffle=False)
    rows = list(shard.decode(indices).to_tuple("__key__", "seg.png", "json"))
    assert [name for name, _, _ in rows] == sorted(class_maps(4))
    for name, mask, record in rows:
        assert np.array_equal(mask, renumbered(class_maps(4)[name]))
        assert record["class_id"] == 1
        assert record["targets"] == [{"word": "bird", "class": "bird", "class_id": 1}]


# palette or grey


def test_grey_masks_are_read_by_opencv_as_ids(data, tmp_path):
    grey = exported(data, tmp_path / "grey", "--format", "png", "--png-mode", "L")
    for name, class_map in class_maps(4).items():
        path = grey / "masks" / f"{name}.png"
        assert np.array_equal(values_of(path, "L"), class_map)
        for flag in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_GRAYSCALE):
            assert (cv2.imread(str(path), flag) == class_map).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "png", "--png-mode", "RGB"), "expected P or L, got 'RGB'"),
        (("--format", "voc", "--png-mode", "L"), "expected grey masks with one of png, got voc"),
        (("--format", "png", "--ids", "new"), "expected keep or contiguous, got 'new'"),
        (
            ("--format", "coco", "--ids", "keep"),
            "a choice of ids with one of hf, png, voc, webdataset",
        ),
        (("--format", "cvat", "--stratified"), "expected no options of splits for cvat"),
        (
            ("--format", "png", "--split-seed", str(2**64)),
            "expected a split seed in 0..18446744073709551",
        ),
    ],
)
def test_options_that_a_format_does_not_have_are_refused(data, tmp_path, words, message):
    assert message in commands.refused("export", data, "-o", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


# splits


def test_an_empty_split_is_told_and_can_be_helped(data, tmp_path):
    alike = ("--format", "png", "--json")
    unlucky = next(seed for seed in range(99) if not select(data, 0.9, seed=seed).positions["val"])
    lone = export(data, "-o", tmp_path / "lone", *alike, "--split-seed", unlucky)
    assert json.loads(lone.stdout)["val"] == 0
    assert (
        f"no item of {data} is in val; make it stratified or take another split seed" in lone.stderr
    )
    helped = export(
        data, "-o", tmp_path / "helped", *alike, "--split-seed", unlucky, "--stratified"
    )
    assert json.loads(helped.stdout)["val"] == 1
    assert "no item" not in helped.stderr
    meant = export(data, "-o", tmp_path / "meant", *alike, "--split", "1")
    assert json.loads(meant.stdout)["val"] == 0
    assert "no item" not in meant.stderr


def test_every_class_has_its_share_of_a_stratified_split():
    classes = [*["bird"] * 40, *["cat"] * 3, "dog"]
    names = [f"{name.capitalize()}_{i:06d}" for i, name in enumerate(classes)]
    for seed in range(5):
        splits = stratified_splits(names, classes, 0.9, seed)
        found = Counter(zip(classes, splits, strict=True))
        assert (found["bird", "train"], found["bird", "val"]) == (36, 4)
        assert (found["cat", "train"], found["cat", "val"]) == (2, 1)
        assert splits[-1] == split_of(names[-1], 0.9, seed)
        backwards = stratified_splits(names[::-1], classes[::-1], 0.9, seed)
        assert backwards[::-1] == splits


@pytest.mark.parametrize(("share", "split"), [(0.0, "val"), (1.0, "train")])
def test_all_items_are_in_one_split_if_that_is_asked_for(data, share, split):
    assert len(select(data, share, stratified=True).positions[split]) == 4


def test_a_seed_makes_another_split_of_the_same_share(tmp_path):
    names = [f"Bird_{i:06d}" for i in range(2_000)]
    plain, other = ([split_of(name, 0.9, seed) for name in names] for seed in (0, 7))
    assert plain == [split_of(name, 0.9) for name in names]
    assert 0.88 < other.count("train") / len(names) < 0.92
    assert 0.15 < sum(a != b for a, b in zip(plain, other, strict=True)) / len(names) < 0.21


def test_the_split_of_a_dataset_is_that_of_its_names(data):
    chosen = select(data, 0.5)
    names = sorted(class_maps(4))
    for split, positions in chosen.positions.items():
        assert [split_of(names[at], 0.5) for at in positions] == [split] * len(positions)
    with pytest.raises(InputError, match=r"expected a split in \[0, 1\]"):
        select(data, 1.5)
    assert len(read_records(data)) == len(chosen)
    assert chosen.class_ids == CLASSES
