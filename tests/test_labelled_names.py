"""Own exports and folders of others, read back: under their own names, from whatever structure."""

import json

import labelled_folders as folders
import numpy as np
import pytest
from formats_data import class_maps, dataset
from labelled_folders import filled

from diffumask.errors import InputError
from diffumask.formats.items import select
from diffumask.formats.registry import FORMATS
from diffumask.labelled.folder import open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.types import ClassIds

FEW_CLASSES = {"cat": 1, "Eiffel Tower": 30, "cow": 254}
SQUARE = [2, 1, 6, 1, 6, 3, 2, 3]


@pytest.fixture
def maps():
    """Maps with the ids of FEW_CLASSES: 1 is another class than in VOC, and 30 none."""
    table = np.arange(256, dtype=np.uint8)
    table[[3, 8]] = 1, 30
    return {name: table[labels] for name, labels in class_maps(6).items()}


@pytest.mark.parametrize(
    ("format_name", "names"),
    [
        ("voc", "labelmap.txt"),
        ("png", "classes.json"),
        ("hf", "id2label.json"),
        ("coco", "instances_train.json, instances_val.json"),
    ],
)
def test_an_own_export_is_read_back_under_its_own_names(tmp_path, maps, format_name, names):
    data = dataset(tmp_path / "data", maps, FEW_CLASSES)
    out = tmp_path / "out"
    out.mkdir()
    FORMATS[format_name].write(select(data, 0.5), out, False)
    there = open_labelled(out)
    assert there.mapping.names == {0: "background", 1: "cat", 30: "Eiffel Tower", 254: "cow"}
    assert there.named_by == names
    wanted = {name: np.where(labels == 255, 0, labels) for name, labels in maps.items()}
    wanted = wanted if format_name == "coco" else maps
    assert {one.name for one in there} == set(wanted)
    for one in there:
        assert np.array_equal(one.class_map, wanted[one.name])
        red = int(one.image[0, 0, 0])
        assert abs(red - 20 * int(one.name[-1])) <= 2  # JPEG in voc
    matched = open_labelled(out, selection=ClassSelection(ClassIds({"cow": 7, "Cat": 9})))
    shown = np.concatenate([one.class_map.ravel() for one in matched])
    assert {7, 9} <= set(np.unique(shown)) <= {0, 7, 9, 255}
    train, val = ([one.name for one in open_labelled(out, split=s)] for s in splits(format_name))
    assert sorted([*train, *val]) == sorted(maps)


def splits(format_name):
    return ("train", "validation") if format_name == "hf" else ("train", "val")


def test_voc_without_a_labelmap_has_the_classes_of_voc(tmp_path):
    folders.voc(tmp_path, filled(1), filled(20))
    there = open_labelled(tmp_path)
    assert (there.mapping.names[1], there.named_by) == ("aeroplane", "layout voc")
    (tmp_path / "labelmap.txt").write_text("# a\nbackground:0,0,0::\ncat:128,0,0::\ncow:1,2,3::\n")
    with pytest.raises(InputError, match=r"VOC's palette in .*labelmap.txt, got 1,2,3 of 'cow'"):
        open_labelled(tmp_path)
    (tmp_path / "labelmap.txt").write_text("cat:128,0,0::\ncow:0,192,0::\nignore:0,0,128::\n")
    assert open_labelled(tmp_path, split="train").mapping.names == {
        0: "background",
        1: "cat",
        18: "cow",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"cat": 1, "cow": 1}', "ids that are each of one class"),
        ('{"cat": 256}', "ids in 0..254 in classes.json, got 256 cat"),
        ('{"background": 0}', "got 0 background"),
        ("{}", "got none"),
        ('["cat"]', r"JSON such as \{\"bird\": 3\}"),
        ("cat", "expected class ids in JSON"),
    ],
)
def test_names_that_make_no_sense_are_refused(tmp_path, content, message):
    folders.plain(tmp_path, filled(1), filled(2))
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_labelled(tmp_path)


def test_a_name_for_0_leaves_no_background(tmp_path):
    folders.plain(tmp_path, filled(0), filled(1))
    (tmp_path / "classes.json").write_text('{"sky": 0, "road": 1, "ignore": 2}')
    mapping = open_labelled(tmp_path).mapping
    assert (mapping.names, mapping.has_background) == ({0: "sky", 1: "road"}, False)
    assert mapping.truth[2] == 255


# folders that the user names


def test_folders_of_whatever_name_are_matched_by_stem(tmp_path):
    folders.plain(tmp_path, filled(1), filled(2), "photos", "labels/first")
    for at, name in enumerate("ab"):
        folders.write_image(tmp_path / "photos" / "sub" / f"{name}{at}.jpeg")
        folders.write_mask(tmp_path / "labels/first" / "sub" / f"{name}{at}.png", filled(3))
    there = open_labelled(tmp_path / "photos", masks=tmp_path / "labels/first")
    assert [one.name for one in there] == ["a", "b", "a0", "b1"]
    assert (there.layout, there.named_by) == ("folders", "")
    (sub, _) = open_labelled(tmp_path / "photos", split="sub", masks=tmp_path / "labels/first")
    assert np.array_equal(sub.class_map, filled(3))
    (tmp_path / "labels" / "classes.json").write_text('{"cat": 1, "cow": 2, "dog": 3}')
    named = open_labelled(tmp_path / "photos", masks=tmp_path / "labels/first")
    assert named.mapping.names == {0: "background", 1: "cat", 2: "cow", 3: "dog"}
    with pytest.raises(InputError, match=r"one of masks, got '.*nowhere'"):
        open_labelled(tmp_path / "photos", masks=tmp_path / "nowhere")


def test_images_and_masks_in_one_folder_are_told_apart(tmp_path):
    folders.plain(tmp_path, filled(1), filled(2), "all", "all")
    one, two = open_labelled(tmp_path / "all", masks=tmp_path / "all")
    assert len(np.unique(one.image)) > 2  # the noise of the JPEG, not the mask
    assert np.array_equal(one.class_map, filled(1))
    assert np.array_equal(two.class_map, filled(2))
    folders.write_image(tmp_path / "all" / "a.webp")
    with pytest.raises(InputError, match=r"one image for each mask, got .*a.jpg and .*a.webp"):
        open_labelled(tmp_path / "all", masks=tmp_path / "all")


# COCO of others


def coco(path, *shapes, names=None, size_hw=folders.SIZE_HW, file_name="a.jpg"):
    height, width = size_hw
    categories = [{"id": i, "name": n} for i, n in (names or {3: "bird", 8: "cat"}).items()]
    image = {"id": 1, "file_name": file_name, "height": height, "width": width}
    annotations = [{"image_id": 1, "category_id": i, **shape} for i, shape in shapes]
    content = {"images": [image], "annotations": annotations, "categories": categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def square(value):
    labels = np.zeros(folders.SIZE_HW, np.uint8)
    labels[1:3, 2:6] = value
    return labels


POLYGON = {"segmentation": [SQUARE]}


@pytest.mark.parametrize(
    ("annotations", "image"),
    [
        ("annotations/instances_val.json", "images/a.jpg"),
        ("annotations/instances_val.json", "val/a.jpg"),
        ("annotations/instances_val.json", "images/val/a.jpg"),
        ("val/_annotations.coco.json", "val/a.jpg"),
        ("result.json", "images/a.jpg"),
        ("_annotations.coco.json", "a.jpg"),
    ],
)
def test_coco_is_read_as_tools_lay_it_out(tmp_path, annotations, image):
    coco(
        tmp_path / annotations,
        (3, {"segmentation": {"size": [5, 8], "counts": [0, 40]}}),
        (8, POLYGON),
    )
    folders.write_image(tmp_path / image)
    (one,) = open_labelled(tmp_path)
    assert np.array_equal(one.class_map, np.where(square(1), 8, 3))
    assert one.image.shape == (*folders.SIZE_HW, 3)
    assert open_labelled(tmp_path).layout == "coco"
    if "val" in annotations:
        assert len(open_labelled(tmp_path, split="val")) == 1
        with pytest.raises(InputError, match=r"a split of .* \(val\), got 'train'"):
            open_labelled(tmp_path, split="train")


def test_a_coco_file_beside_a_folder_of_images_is_read(tmp_path):
    folders.write_image(tmp_path / "photos" / "a.jpg")
    path = coco(tmp_path / "mine.json", (8, POLYGON), file_name="images\\a.jpg")
    there = open_labelled(tmp_path / "photos", masks=path)
    assert np.array_equal(there.class_map(0), square(8))
    assert there.named_by == "mine.json"


def test_categories_from_0_are_numbered_from_1_and_that_is_said(tmp_path):
    folders.write_image(tmp_path / "images" / "a.jpg")
    path = coco(
        tmp_path / "annotations/a.json", (4, POLYGON), names={0: "bird", 4: "cat", 9: "cow"}
    )
    there = open_labelled(tmp_path)
    assert there.mapping.names == {0: "background", 1: "bird", 2: "cat", 3: "cow"}
    assert there.named_by == "a.json, numbered from 1 in the order of their ids"
    assert np.array_equal(there.class_map(0), square(2))
    coco(path, names={i: str(i) for i in range(255)})
    with pytest.raises(InputError, match="at most 254 categories, got 255"):
        open_labelled(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((8, {"segmentation": []}),), {}, "a mask or polygon for each annotation of a.jpg"),
        (((8, {"bbox": [1, 1, 2, 2]}),), {}, "got a box alone; draw it"),
        (((8, POLYGON),), {"size_hw": (10, 16)}, r"regions of a.jpg of 5x8 pixels .* of 10x16"),
        (((8, POLYGON),), {"file_name": "../a.jpg"}, "do not trust it"),
        (((8, POLYGON),), {"file_name": "/a.jpg"}, "do not trust it"),
        (((8, POLYGON),), {"file_name": "b.jpg"}, "image for each mask, got"),
        (((9, POLYGON),), {}, "expected the category 9 in"),
        (((8, POLYGON),), {"names": {8: "cat", 9: "cat"}}, "classes of different names"),
    ],
)
def test_coco_that_does_not_fit_is_refused(tmp_path, shapes, options, message):
    folders.write_image(tmp_path / "images" / "a.jpg")
    folders.write_image(tmp_path / "a.jpg")
    coco(tmp_path / "annotations" / "instances_val.json", *shapes, **options)
    with pytest.raises(InputError, match=message):
        open_labelled(tmp_path).class_map(0)


def test_categories_that_differ_between_splits_are_refused(tmp_path):
    for split, name in (("train", "bird"), ("val", "cat")):
        folders.write_image(tmp_path / "images" / f"{split}.jpg")
        file = tmp_path / "annotations" / f"instances_{split}.json"
        coco(file, names={1: name}, file_name=f"{split}.jpg")
    with pytest.raises(InputError, match=r"the same categories .*'cat' and 'bird' for 1; choose"):
        open_labelled(tmp_path)
    assert open_labelled(tmp_path, split="val").mapping.names == {0: "background", 1: "cat"}


# values that are read as others


def test_values_are_read_as_those_they_are_mapped_to(tmp_path):
    values = np.array([[0, 255, 255, 7]], np.uint8)
    folders.plain(tmp_path, values, values)
    there = open_labelled(tmp_path, selection=ClassSelection(mapped={255: 1, 7: 255}))
    assert there.class_map(0).tolist() == [[0, 1, 1, 255]]
    assert there.mapping.predicted[255] == 255
    swapped = open_labelled(tmp_path, selection=ClassSelection(mapped={0: 7, 7: 0}))
    assert swapped.class_map(0).tolist() == [[7, 255, 255, 0]]
    for mapped in ({255: 9}, {255: 300}, {300: 1}):
        with pytest.raises(InputError, match=r"to map a value in 0..255 to one of 0, 1, 255"):
            open_labelled(tmp_path, selection=ClassSelection(ClassIds({"cat": 1}), mapped=mapped))


def test_parquet_without_images_in_it_is_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    (tmp_path / "id2label.json").write_text('{"1": "cat"}')
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    parquet.write_table(pyarrow.table({"name": ["a"], "image": ["a.png"]}), path)
    with pytest.raises(InputError, match=r"columns name, image, mask in .*got none named mask"):
        open_labelled(tmp_path)
    parquet.write_table(pyarrow.table({"name": ["a"], "image": ["a.png"], "mask": ["b"]}), path)
    there = open_labelled(tmp_path, split="train")
    with pytest.raises(InputError, match="the bytes of an image in the column mask"):
        there.class_map(0)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="expected parquet in"):
        open_labelled(tmp_path)
