"""Exports, read back by the libraries that they are for."""

import json
import sys
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from io import BytesIO

import cv2
import numpy as np
import pytest
import yaml
from formats_data import CLASSES, class_maps, dataset, export, values_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image as PillowImage

from diffumask import extra
from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.formats.folder import new_folder
from diffumask.formats.instances import instance_map
from diffumask.formats.items import select
from diffumask.formats.registry import FORMATS
from diffumask.labelled.folder import open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.types import ClassIds

WANTED = ClassSelection(ClassIds(CLASSES))
WHATEVER = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0, 3, 8, 254, 255]),
    fill=st.nothing(),
)
FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FEW = settings(max_examples=10, deadline=None, suppress_health_check=FIXTURES)


def fresh(tmp_path_factory, labels):
    """A dataset with the class map given and one more, in a folder of its own."""
    folder = tmp_path_factory.mktemp("whatever")
    maps = {"Bird_000000": labels, **{k: v for k, v in class_maps(2).items() if v.any()}}
    return dataset(folder / "data", maps), folder / "out", maps


# COCO


def coco_maps(out):
    """Decode every annotation with pycocotools, and check what evaluation relies on."""
    maps = {}
    rle = extra.load("pycocotools.mask")
    for path in sorted((out / "annotations").iterdir()):
        coco = extra.load("pycocotools.coco").COCO(str(path))
        for image in coco.loadImgs(coco.getImgIds()):
            labels = np.zeros((image["height"], image["width"]), np.uint8)
            for one in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False)):
                mask = coco.annToMask(one).astype(bool)
                assert not labels[mask].any()
                assert one["area"] == mask.sum() > 0
                ys, xs = np.nonzero(mask)
                box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
                assert one["bbox"] == box == rle.toBbox(coco.annToRLE(one)).tolist()
                labels[mask] = one["category_id"]
            maps[image["file_name"].removesuffix(".png")] = labels
    return maps


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # pycocotools
@FEW
@given(WHATEVER, st.booleans())
def test_coco_is_read_by_pycocotools(tmp_path_factory, capsys, labels, instances):
    data, out, maps = fresh(tmp_path_factory, labels)
    back = coco_maps(export(data, out, "coco", instances=instances))
    assert back.keys() == maps.keys()
    for name, one in maps.items():
        assert np.array_equal(back[name], np.where(one == 255, 0, one))


def test_coco_scores_itself_as_perfect(tmp_path, capsys):
    data = dataset(tmp_path / "data", class_maps(5, (40, 60)))
    out = export(data, tmp_path / "out", "coco", instances=True, share=1.0)
    coco = extra.load("pycocotools.coco").COCO(str(out / "annotations/instances_train.json"))
    found = coco.loadRes([one | {"score": 1.0} for one in coco.loadAnns(coco.getAnnIds())])
    judged = extra.load("pycocotools.cocoeval").COCOeval(coco, found, "segm")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert judged.stats[0] == pytest.approx(1)
    assert {one["name"]: one["id"] for one in coco.loadCats(coco.getCatIds())} == CLASSES


def test_components_are_annotations_of_their_own(tmp_path, capsys):
    data = dataset(tmp_path / "data", {"Bird_000000": class_maps(4)["Bird_000003"]})
    for instances, n in ((False, 1), (True, 2)):
        out = export(data, tmp_path / str(n), "coco", instances=instances, share=1.0)
        content = json.loads((out / "annotations/instances_train.json").read_bytes())
        assert len(content["annotations"]) == n


# VOC


@FEW
@given(WHATEVER)
def test_voc_keeps_the_indices(tmp_path_factory, labels):
    data, out, maps = fresh(tmp_path_factory, labels)
    export(data, out, "voc", instances=True)
    lists = out / "ImageSets"
    for path in (lists / "Segmentation").iterdir():
        assert (lists / "Main" / path.name).read_bytes() == path.read_bytes()
    for name, one in maps.items():
        assert np.array_equal(values_of(out / "SegmentationClass" / f"{name}.png"), one)
        numbers = values_of(out / "SegmentationObject" / f"{name}.png")
        assert np.array_equal(numbers > 0, one > 0)


def test_voc_is_read_as_voc(tmp_path):
    maps = {name: np.where(one == 254, 8, one) for name, one in class_maps(12).items()}
    classes = {"bird": 3, "cat": 8}
    data = dataset(tmp_path / "data", maps, classes)
    out = export(data, tmp_path / "out", "voc", share=0.5)
    read = {split: open_labelled(out, "auto", split) for split in ("train", "val", "trainval")}
    assert {one.layout for one in read.values()} == {"voc"}
    names = {split: [one.name for one in labelled] for split, labelled in read.items()}
    assert sorted(names["train"] + names["val"]) == names["trainval"] == list(maps)
    assert names["train"]
    assert names["val"]
    for one in read["trainval"]:
        assert np.array_equal(one.class_map, maps[one.name])
        assert np.abs(one.image.astype(int) - (one.image[0, 0])).max() <= 3
    lines = (out / "labelmap.txt").read_text().splitlines()
    assert lines[1:] == [
        "background:0,0,0::",
        "bird:128,128,0::",
        "cat:64,0,0::",
        "ignore:224,224,192::",
    ]


def test_boxes_of_voc_start_at_one(tmp_path):
    data = dataset(tmp_path / "data", {"Bird_000000": class_maps(4)["Bird_000003"]})
    out = export(data, tmp_path / "out", "voc", instances=True)
    root = ET.parse(out / "Annotations" / "Bird_000000.xml").getroot()
    boxes = [[int(side.text or "") for side in one] for one in root.iter("bndbox")]
    assert boxes == [[2, 2, 5, 5], [7, 2, 8, 3]]
    assert [one.findtext("name") for one in root.iter("object")] == ["bird", "bird"]
    assert (root.findtext("size/width"), root.findtext("size/height")) == ("9", "6")


# CVAT


@pytest.mark.parametrize("instances", [False, True])
def test_cvat_finds_objects_and_no_background(tmp_path, instances):
    data = dataset(tmp_path / "data", class_maps(3))
    out = export(data, tmp_path / "out", "cvat", instances=instances)
    with zipfile.ZipFile(out / "annotations.zip") as packed:
        for name, class_map in class_maps(3).items():
            with packed.open(f"SegmentationObject/{name}.png") as file:
                painted = np.array(PillowImage.open(file))
            numbers, _ = instance_map(class_map, instances)
            assert np.array_equal(painted, voc_palette()[numbers])
            assert np.array_equal(numbers == 0, class_map == 0)


# YOLO


def test_yolo_is_read_by_its_rules(tmp_path):
    data = dataset(tmp_path / "data", class_maps(8))
    out = export(data, tmp_path / "out", "yolo", share=0.5)
    config = yaml.safe_load((out / "data.yaml").read_text("utf-8"))
    assert config == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "bird", 1: "cat", 2: "Eiffel Tower"},
    }
    ids = [CLASSES[config["names"][i]] for i in range(3)]
    seen = []
    for split in ("train", "val"):
        for image in sorted((out / config[split]).iterdir()):
            wanted = class_maps(8)[image.stem]
            drawn = np.zeros_like(wanted)
            label = out / "labels" / split / f"{image.stem}.txt"
            for line in label.read_text().splitlines():
                index, *places = line.split()
                points = np.array(places, float).reshape(-1, 2)
                assert points.min() > 0
                assert points.max() < 1
                scaled = (points * wanted.shape[::-1]).astype(np.int32)
                cv2.fillPoly(drawn, [scaled], ids[int(index)])
            assert np.array_equal(drawn, np.where(wanted == 255, 0, wanted))
            seen.append(image.stem)
    assert sorted(seen) == list(class_maps(8))


def test_yolo_quotes_names_and_tells_what_has_no_polygon(tmp_path):
    labels = np.zeros((4, 7), np.uint8)
    labels[0, 0] = labels[2, 2:6] = 1
    data = dataset(tmp_path / "data", {"Bird_000000": labels}, {'no: "yes" #1\\': 1})
    (note,) = FORMATS["yolo"].write(select(data, 1.0), tmp_path, False)
    assert note.startswith("2 components ")
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["names"] == {0: 'no: "yes" #1\\'}
    assert (tmp_path / "labels/train/Bird_000000.txt").read_text() == ""


# Hugging Face datasets


def test_hf_is_loaded_by_datasets(tmp_path):
    data = dataset(tmp_path / "data", class_maps(8))
    out = export(data, tmp_path / "out", "hf", share=0.5)
    loaded = extra.load("datasets").load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation"}
    rows = [row for split in loaded.values() for row in split]
    assert sorted(row["name"] for row in rows) == list(class_maps(8))
    for row in rows:
        assert row["mask"].mode == "P"
        assert np.array_equal(np.array(row["mask"]), class_maps(8)[row["name"]])
        assert row["image"].size == row["mask"].size == (9, 6)
        assert (row["prompt"], row["class_id"], row["scores"]) == (
            "a bird on grass",
            3,
            {"area": 0.5},
        )
        assert json.loads(row["metadata"])["index"] == row["seed"]
    labels = json.loads((out / "id2label.json").read_bytes())
    assert labels == {"0": "background", "3": "bird", "8": "cat", "254": "Eiffel Tower"}
    card = yaml.safe_load((out / "README.md").read_text("utf-8").split("---")[1])
    assert [one["split"] for one in card["configs"][0]["data_files"]] == ["train", "validation"]


# WebDataset


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # left open by it
def test_shards_are_read_by_webdataset(tmp_path):
    wds = extra.load("webdataset")
    data = dataset(tmp_path / "100% data", class_maps(8))
    out = export(data, tmp_path / "100% out", "webdataset", share=0.5)
    shards = sorted(out.glob("*.tar"))
    assert [path.name for path in shards] == ["train-000000.tar", "val-000000.tar"]
    indices = wds.handle_extension("seg.png", lambda png: np.array(PillowImage.open(BytesIO(png))))
    names = []
    for path in shards:
        samples = wds.WebDataset(str(path), shardshuffle=False).decode(indices, "pil")
        for image, mask, record in samples.to_tuple("png", "seg.png", "json"):
            name = record["file_name"].removeprefix("images/").removesuffix(".png")
            assert np.array_equal(mask, class_maps(8)[name])
            assert np.array_equal(image, np.array(PillowImage.open(data / record["file_name"])))
            names.append(name)
    assert sorted(names) == list(class_maps(8))


def test_shards_are_the_same_each_time(tmp_path):
    data = dataset(tmp_path / "data", class_maps(3))
    one, two = (export(data, tmp_path / name, "webdataset", share=1.0) for name in "ab")
    with tarfile.open(one / "train-000000.tar") as shard:
        assert {member.mtime for member in shard} == {0}
    assert (one / "train-000000.tar").read_bytes() == (two / "train-000000.tar").read_bytes()


# plain folders


@FEW
@given(WHATEVER)
def test_png_keeps_everything(tmp_path_factory, labels):
    data, out, maps = fresh(tmp_path_factory, labels)
    export(data, out, "png", share=1.0)
    labelled = open_labelled(out, "plain", "train", WANTED)
    assert {one.name for one in labelled} == set(maps)
    assert all(np.array_equal(one.class_map, maps[one.name]) for one in labelled)
    assert json.loads((out / "classes.json").read_bytes()) == CLASSES


# all


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "cityscapes"])
def test_dropped_items_are_left_out_of_every_format(tmp_path, name):
    data = dataset(tmp_path / "data", class_maps(4), dropped=["Bird_000001"])
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    out = export(data, tmp_path / "out", name)
    everything = export(data, tmp_path / "all", name, with_dropped=True)
    assert not _mentions(out, "Bird_000001")
    assert _mentions(out, "Bird_000002")
    assert _mentions(everything, "Bird_000001")
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def _mentions(folder, name):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return any(name in path.name or name.encode() in path.read_bytes() for path in paths)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"
    with pytest.raises(ZeroDivisionError), new_folder(out) as folder:
        (folder / "half").write_text(str(1 // 0))
    assert list((tmp_path / "deep").iterdir()) == []
    out.mkdir()
    with new_folder(out) as folder:
        (folder / "whole").write_text("")
        assert list(out.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["whole"]
    for taken in (out, out / "whole"):
        with pytest.raises(InputError, match="choose another"), new_folder(taken):
            pass
    assert [path.name for path in out.iterdir()] == ["whole"]


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    data = dataset(tmp_path / "data", class_maps(2))
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(InputError, match=r"library pycocotools .* 'diffumask\[export\]'"):
        export(data, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["background", "Ignore", "a:b", "#a", "a\nb", " a"])
def test_names_that_a_labelmap_cannot_hold_are_refused(tmp_path, name):
    data = dataset(tmp_path / "data", {"Bird_000000": np.ones((2, 3), np.uint8)}, {name: 1})
    with pytest.raises(InputError, match="choose another format"):
        export(data, tmp_path / "out", "voc")
