"""A dataset for the readers of exports, and what they should find in it."""

import cv2
import numpy as np
from formats_data import class_maps, dataset, export

from diffumask.formats.items import masks_of

CITY_CLASSES = {"car": 3, "building": 8, "motorbike": 254}
CITY_IDS = {0: 0, 255: 0, 3: 26, 8: 11, 254: 32}
CLASSES = {"bird": 3, "cat": 8, "dog": 254}


def scenes(n=6, size_hw=(40, 56)):
    """Maps with two parts of a class, a hole and 255, and one of blobs; the first is empty."""
    maps = class_maps(n, size_hw)
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random(size_hw), (0, 0), 2)
    values = np.array([0, 3, 8, 254, 255], np.uint8)
    bins = np.digitize(noise, np.quantile(noise, [0.2, 0.4, 0.6, 0.8]))
    return maps | {f"Bird_{n:06d}": values[bins]}


def exported(tmp_path, name, classes=CLASSES, *, instances=False, share=0.5):
    data = dataset(tmp_path / "data", scenes(), classes)
    # where torchvision looks for VOC
    out = tmp_path / "VOCdevkit" / "VOC2012"
    return export(data, out, name, instances=instances, share=share)


def shown(class_map):
    """What formats keep that have no 255."""
    return np.where(class_map == 255, 0, class_map)


def boxes(class_map, instances, ids=None):
    """The class, left, top, right, bottom of the objects, the last two beyond them."""
    found = []
    for class_id, mask in masks_of(class_map, instances):
        ys, xs = np.nonzero(mask)
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        found.append((class_id if ids is None else ids[class_id], *map(int, box)))
    return sorted(found)


def same_boxes(found, wanted):
    """Compare boxes whatever their order."""
    rows = np.rint(np.array(found, float).reshape(-1, 5)).astype(int)
    assert sorted(map(tuple, rows.tolist())) == wanted
