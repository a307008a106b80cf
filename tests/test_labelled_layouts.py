"""The layouts of known datasets: what is found, and which class ids come out."""

import shutil

import labelled_folders as folders
import numpy as np
import pytest
from labelled_folders import filled

from diffumask.errors import InputError
from diffumask.labelled.folder import open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.types import ClassIds

# layout: how to write it, values of its two masks, their class ids, split of the second
CASES = {
    "native": (folders.native, (3, 8), (3, 8), None),
    "voc": (folders.voc, (0, 20), (0, 20), "val"),
    "cityscapes": (folders.cityscapes, (7, 4), (7, 255), "val"),
    "ade20k": (folders.ade20k, (150, 0), (150, 255), "validation"),
    "oxford-pets": (folders.oxford_pets, (1, 2), (1, 0), "test"),
    "camvid": (folders.camvid, (0, 11), (0, 255), "val"),
    "plain": (folders.plain, (0, 254), (0, 254), None),
}


@pytest.mark.parametrize("layout", CASES)
def test_each_layout_is_known_by_its_structure_and_gives_class_ids(layout, tmp_path):
    write, values, ids, split = CASES[layout]
    write(tmp_path, *map(filled, values))
    data = open_labelled(tmp_path)
    assert (data.layout, len(data)) == (layout, 2)
    for one, class_id in zip(data, ids, strict=True):
        assert one.image.shape == (*folders.SIZE_HW, 3)
        assert one.class_map.dtype == np.uint8
        assert np.array_equal(one.class_map, filled(class_id))
    if split is not None:
        (second,) = open_labelled(tmp_path, layout, split)
        assert second.name == data[1].name
        assert np.array_equal(second.class_map, data.class_map(1))


@pytest.mark.parametrize("layout", [name for name in CASES if name != "plain"])
def test_an_unknown_split_is_refused(layout, tmp_path):
    write, values, *_ = CASES[layout]
    write(tmp_path, *map(filled, values))
    with pytest.raises(InputError, match=r"split .*, got 'nope'"):
        open_labelled(tmp_path, split="nope")


def test_a_label_of_a_known_dataset_becomes_that_of_the_vocabulary_by_name(tmp_path):
    folders.voc(tmp_path, filled(1), filled(20))
    classes = ClassIds({"airplane": 7, "TV monitor": 9}, {"airplane": ("plane", "aeroplane")})
    one, two = open_labelled(tmp_path, selection=ClassSelection(classes))
    assert np.array_equal(one.class_map, filled(7))
    assert np.array_equal(two.class_map, filled(9))


def test_a_class_that_is_not_wanted_is_background_or_ignored_without_one(tmp_path):
    folders.voc(tmp_path / "voc", filled(1), filled(3))
    one, two = open_labelled(tmp_path / "voc", selection=ClassSelection(ClassIds({"bird": 5})))
    assert np.array_equal(one.class_map, filled(0))
    assert np.array_equal(two.class_map, filled(5))
    folders.cityscapes(tmp_path / "streets", filled(7), filled(26))
    one, two = open_labelled(tmp_path / "streets", selection=ClassSelection(ClassIds({"car": 5})))
    assert np.array_equal(one.class_map, filled(255))
    assert np.array_equal(two.class_map, filled(5))


def test_train_ids_of_cityscapes_are_read_where_there_are_no_label_ids(tmp_path):
    folders.cityscapes(tmp_path, filled(0), filled(13), kind="labelTrainIds")
    selection = ClassSelection(ClassIds({"road": 1, "car": 14}))
    assert [int(one.class_map[0, 0]) for one in open_labelled(tmp_path, selection=selection)] == [
        1,
        14,
    ]


def test_a_list_or_subfolders_give_the_splits_of_a_plain_folder(tmp_path):
    folders.plain(tmp_path / "list", filled(1), filled(2))
    rows = ["file,split,mask", "images/a.jpg,train,masks/a.png", "images/b.jpg,val,masks/b.png"]
    (tmp_path / "list" / "labels.csv").write_text("\n".join(rows))
    (only,) = open_labelled(tmp_path / "list", split="val")
    assert only.name == "b"
    with pytest.raises(InputError, match=r"expected a split of .* \(train, val\), got 'test'"):
        open_labelled(tmp_path / "list", split="test")
    (tmp_path / "list" / "labels.csv").write_text("file,split\nimages/a.jpg,train\n")
    with pytest.raises(InputError, match=r"columns file, mask, split in .*, got file, split"):
        open_labelled(tmp_path / "list", split="train")

    folder = folders.plain(tmp_path / "sub", filled(1), filled(2), "img_dir/val", "ann_dir/val")
    assert [one.name for one in open_labelled(folder, split="val")] == ["a", "b"]
    assert len(open_labelled(folder)) == 2
    shutil.copytree(folder / "ann_dir" / "val", folder / "ann_dir" / "train")
    shutil.copytree(folder / "img_dir" / "val", folder / "img_dir" / "train")
    with pytest.raises(
        InputError, match=r"one mask of a name, got .*a.png and .*a.png for a; choose"
    ):
        open_labelled(folder)
    with pytest.raises(InputError, match=r"\(train, val\), got 'test'"):
        open_labelled(folder, split="test")


def test_an_unknown_structure_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(InputError, match=r"expected a folder of labelled images, got '.*nowhere'"):
        open_labelled(tmp_path / "nowhere")
    known = r"native \(run.json.*or voc \(JPEGImages.*or plain \(images, masks.*with nothing"
    with pytest.raises(InputError, match=known):
        open_labelled(tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match=r"layout voc \(JPEGImages, .*\), got .* with pictures"):
        open_labelled(tmp_path, "voc")
    with pytest.raises(InputError, match=r"the layout auto or one of native, voc.*got 'tfds'"):
        open_labelled(tmp_path, "tfds")


def test_a_folder_without_masks_and_a_mask_without_image_are_refused(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"expected masks as PNG in .*, got none"):
        open_labelled(tmp_path)
    folders.write_mask(tmp_path / "masks" / "a.png", filled(1))
    with pytest.raises(InputError, match=r"image for each mask, got .*a.png without .*images/a"):
        open_labelled(tmp_path)
    folders.cityscapes(tmp_path / "streets", filled(7), filled(7))
    for path in (tmp_path / "streets" / "leftImg8bit").rglob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"labelIds.png without .*_leftImg8bit.png"):
        open_labelled(tmp_path / "streets")
