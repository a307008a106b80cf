"""datumaro, whose reader of masks is that of CVAT, reads CVAT, VOC, COCO, Cityscapes and YOLO."""

import zipfile

import numpy as np
import pytest
from readers_data import CITY_CLASSES, CLASSES, boxes, exported, same_boxes, scenes, shown

from diffumask.formats.items import masks_of


def read_masks(datumaro, folder, name):
    """Read the masks of each item as one map of label names."""
    read = datumaro.Dataset.import_from(str(folder), name)
    labels = read.categories()[datumaro.AnnotationType.label].items
    found = {}
    for item in read:
        masks = [one for one in item.annotations if one.type == datumaro.AnnotationType.mask]
        found[item.id] = [(labels[one.label].name, np.array(one.image) > 0) for one in masks]
    return found


def check_masks(found, instances):
    """Compare with the scenes: no label but ours, and as many objects as there are."""
    assert set(found) == set(scenes())
    for name, masks in found.items():
        class_map = scenes()[name]
        wanted = list(masks_of(class_map, instances))
        assert len([label for label, _ in masks if label != "ignore"]) == len(wanted)
        drawn = np.zeros_like(class_map)
        for label, mask in masks:
            assert not drawn[mask].any()
            drawn[mask] = (CLASSES | {"ignore": 255})[label]
        assert np.array_equal(drawn, class_map)


@pytest.mark.parametrize("instances", [False, True])
def test_datumaro_reads_cvat_without_a_background(tmp_path, datumaro, instances):
    out = exported(tmp_path, "cvat", instances=instances)
    with zipfile.ZipFile(out / "annotations.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    check_masks(read_masks(datumaro, tmp_path / "unpacked", "voc_segmentation"), instances)


@pytest.mark.parametrize("instances", [False, True])
def test_datumaro_reads_voc_without_a_background(tmp_path, datumaro, instances):
    out = exported(tmp_path, "voc", instances=instances)
    check_masks(read_masks(datumaro, out, "voc_segmentation"), instances)


def test_datumaro_reads_the_boxes_of_voc(tmp_path, datumaro):
    out = exported(tmp_path, "voc", instances=True)
    read = datumaro.Dataset.import_from(str(out), "voc_detection")
    labels = read.categories()[datumaro.AnnotationType.label].items
    found = {item.id: item.annotations for item in read}
    assert set(found) == set(scenes())
    for name, class_map in scenes().items():
        names = sorted(labels[one.label].name for one in found[name])
        ids = {class_id: name for name, class_id in CLASSES.items()}
        assert names == sorted(ids[class_id] for class_id, _ in masks_of(class_map, True))


def test_datumaro_reads_coco(tmp_path, datumaro):
    found = read_masks(datumaro, exported(tmp_path, "coco", instances=True), "coco")
    assert set(found) == set(scenes())
    for name, masks in found.items():
        drawn = np.zeros_like(scenes()[name])
        for label, mask in masks:
            drawn[mask] = CLASSES[label]
        assert np.array_equal(drawn, shown(scenes()[name]))


def test_datumaro_reads_cityscapes(tmp_path, datumaro):
    out = exported(tmp_path, "cityscapes", CITY_CLASSES)
    found = read_masks(datumaro, out, "cityscapes")
    assert {name.rpartition("diffumask_")[2] for name in found} == set(scenes())
    values = {"car": 3, "building": 8, "motorcycle": 254}
    for name, masks in found.items():
        class_map = scenes()[name.rpartition("diffumask_")[2]]
        drawn = np.zeros_like(class_map)
        for label, mask in masks:
            drawn[mask] = values[label]
        assert np.array_equal(drawn, shown(class_map))


def test_datumaro_reads_the_boxes_of_yolo(tmp_path, datumaro):
    out = exported(tmp_path, "yolo-detect", instances=True)
    read = datumaro.Dataset.import_from(str(out), "yolo")
    found = {item.id.rpartition("/")[2]: item.annotations for item in read}
    indices = {class_id: i for i, class_id in enumerate(CLASSES.values())}
    assert set(found) == set(scenes())
    for name, annotations in found.items():
        rows = [(one.label, one.x, one.y, one.x + one.w, one.y + one.h) for one in annotations]
        same_boxes(rows, boxes(scenes()[name], True, indices))
