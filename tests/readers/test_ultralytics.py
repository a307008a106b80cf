"""ultralytics verifies the labels of YOLO and draws their polygons as it does to train."""

from importlib import import_module

import numpy as np
import pytest
from readers_data import CLASSES, boxes, exported, same_boxes, scenes, shown


def labels_of(ultralytics, out, n_classes=3):
    """Verify each label file as training does, and yield the item, boxes and polygons."""
    for split in ("train", "val"):
        for image in sorted((out / "images" / split).iterdir()):
            label = out / "labels" / split / f"{image.stem}.txt"
            task = (str(image), str(label), "", False, n_classes, 0, 0, False)
            _, rows, shape, segments, _, missing, found, _, corrupt, message = (
                ultralytics.verify_image_label(task)
            )
            assert (missing, found, corrupt, message) == (0, 1, 0, "")
            yield image.stem, rows, shape, segments


def test_ultralytics_draws_polygons_of_yolo_as_they_were(tmp_path, ultralytics):
    resample = import_module("ultralytics.utils.ops").resample_segments
    out = exported(tmp_path, "yolo")
    ids = list(CLASSES.values())
    n = right = wrong = 0
    for name, rows, (height, width), segments in labels_of(ultralytics, out):
        drawn, resampled = np.zeros((2, height, width), np.uint8)
        for row, segment in zip(rows, segments, strict=True):
            places = segment * [width, height]
            value = ids[int(row[0])]
            drawn[ultralytics.polygon2mask((height, width), [places.ravel()]) > 0] = value
            (more,) = resample([places.astype(np.float32)])
            resampled[ultralytics.polygon2mask((height, width), [more.ravel()]) > 0] = value
        wanted = shown(scenes()[name])
        assert np.count_nonzero(drawn != wanted) <= 0.01 * wanted.size  # what has no polygon
        assert not (drawn[drawn != wanted]).any()
        right += np.count_nonzero((resampled == drawn) & (drawn > 0))
        wrong += np.count_nonzero(resampled != drawn)
        n += 1
    assert n == len(scenes())
    assert right / (right + wrong) > 0.96  # training puts points between ours


@pytest.mark.parametrize("instances", [False, True])
def test_ultralytics_reads_the_boxes_of_yolo(tmp_path, ultralytics, instances):
    out = exported(tmp_path, "yolo-detect", instances=instances)
    indices = {class_id: i for i, class_id in enumerate(CLASSES.values())}
    names = set()
    for name, rows, (height, width), segments in labels_of(ultralytics, out):
        assert not segments
        centre, half = rows[:, 1:3] * [width, height], rows[:, 3:] * [width, height] / 2
        found = np.hstack([rows[:, :1], centre - half, centre + half])
        same_boxes(found, boxes(scenes()[name], instances, indices))
        names.add(name)
    assert names == set(scenes())


def test_ultralytics_knows_the_dataset(tmp_path, ultralytics):
    for name in ("yolo", "yolo-detect"):
        out = exported(tmp_path / name, name)
        known = ultralytics.check_det_dataset(str(out / "data.yaml"), autodownload=False)
        assert known["names"] == dict(enumerate(CLASSES))
        assert known["val"] == str(out / "images" / "val")
