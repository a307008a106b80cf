"""torchvision's dataset classes read VOC, COCO and Cityscapes."""

import numpy as np
import pytest
from readers_data import CITY_CLASSES, CITY_IDS, CLASSES, boxes, exported, scenes, shown


def test_torchvision_reads_voc(tmp_path, torchvision):
    exported(tmp_path, "voc")
    n = 0
    for split in ("train", "val"):
        rows = torchvision.VOCSegmentation(str(tmp_path), image_set=split)
        for path, (image, mask) in zip(rows.masks, rows, strict=True):
            name = path.rpartition("/")[2].removesuffix(".png")
            assert np.array_equal(np.array(mask), scenes()[name])
            assert image.size == mask.size
            n += 1
    assert n == len(scenes())


def test_torchvision_reads_the_boxes_of_voc(tmp_path, torchvision):
    exported(tmp_path, "voc", instances=True)
    rows = torchvision.VOCDetection(str(tmp_path), image_set="trainval")
    assert len(rows) == len(scenes())
    for _, target in rows:
        one = target["annotation"]
        found = []
        for thing in one.get("object", []):
            box = {side: int(place) for side, place in thing["bndbox"].items()}
            corner = (box["xmin"] - 1, box["ymin"] - 1)
            found.append((CLASSES[thing["name"]], *corner, box["xmax"], box["ymax"]))
        assert sorted(found) == boxes(scenes()[one["filename"].removesuffix(".jpg")], True)


@pytest.mark.parametrize("instances", [False, True])
def test_torchvision_reads_coco(tmp_path, torchvision, capsys, instances):
    out = exported(tmp_path, "coco", instances=instances)
    n = 0
    for split in ("train", "val"):
        annotations = out / "annotations" / f"instances_{split}.json"
        rows = torchvision.CocoDetection(str(out / "images"), str(annotations))
        for image_id, (image, objects) in zip(rows.ids, rows, strict=True):
            name = rows.coco.loadImgs(image_id)[0]["file_name"].removesuffix(".png")
            drawn = np.zeros(image.size[::-1], np.uint8)
            for one in objects:
                drawn[rows.coco.annToMask(one) > 0] = one["category_id"]
            assert np.array_equal(drawn, shown(scenes()[name]))
            n += 1
    assert n == len(scenes())


def test_torchvision_reads_cityscapes(tmp_path, torchvision):
    out = exported(tmp_path, "cityscapes", CITY_CLASSES, instances=True)
    kinds = ["semantic", "instance", "color", "polygon"]
    for split in ("train", "val"):
        rows = torchvision.Cityscapes(str(out), split, target_type=kinds)
        assert len(rows)
        for i, (image, (semantic, instance, colour, polygon)) in enumerate(rows):
            name = rows.images[i].rpartition("diffumask_")[2].removesuffix("_leftImg8bit.png")
            wanted = np.vectorize(CITY_IDS.__getitem__)(scenes()[name])
            assert np.array_equal(np.array(semantic), wanted)
            ids = np.array(instance)
            assert np.array_equal(np.where(ids >= 1000, ids // 1000, ids), wanted)
            colours = {one.id: one.color for one in rows.classes}
            painted = np.array([colours[value] for value in wanted.ravel()])
            assert np.array_equal(np.array(colour)[..., :3].reshape(-1, 3), painted)
            assert (polygon["imgWidth"], polygon["imgHeight"]) == image.size
            assert {one["label"] for one in polygon["objects"]} <= {"car", "building", "motorcycle"}
