"""Small datasets to export: whatever class maps, non-square, with colours that JPEG keeps."""

import numpy as np
from PIL import Image as PillowImage

from diffumask.dataset.store import open_store
from diffumask.formats.folder import new_folder
from diffumask.formats.items import select
from diffumask.formats.registry import FORMATS
from diffumask.types import Example, Prompt, Target

CLASSES = {"bird": 3, "cat": 8, "Eiffel Tower": 254}


def class_maps(n, size_hw=(6, 9)):
    """Maps with two parts, a hole, 255, and the first one empty."""
    maps = {}
    for i in range(n):
        labels = np.zeros(size_hw, np.uint8)
        if i:
            labels[1:5, 1:5] = list(CLASSES.values())[i % 3]
            labels[2:4, 2:4] = 0
            labels[1:3, 6:8] = 3
            labels[5] = 255
        maps[f"Bird_{i:06d}"] = labels
    return maps


def dataset(folder, maps, classes=CLASSES, dropped=()):
    """Write a native dataset with these class maps by item name."""
    prompt = Prompt("a bird on grass", (Target("bird", "bird", 3),), "", "on grass")
    with open_store(folder, {"model": "none", "keep_maps": False}, classes, {}) as store:
        for i, (name, labels) in enumerate(maps.items()):
            image = np.full((*labels.shape, 3), (i * 20 % 256, 90, 200), np.uint8)
            verdict = {"verdict": "dropped" if name in dropped else "kept"}
            example = Example(prompt, i, image, labels, {"area": 0.5})
            store.write(name, example, {"index": i, **verdict})
    return folder


def export(data, out, name, *, instances=False, share=0.9, with_dropped=False, **ids_and_splits):
    """Write a dataset in a format to a new folder, and return that."""
    with new_folder(out) as folder:
        FORMATS[name].write(select(data, share, with_dropped, **ids_and_splits), folder, instances)
    return out


def values_of(path, mode="P"):
    """Read the values of a PNG, which is of this mode."""
    with PillowImage.open(path) as picture:
        assert picture.mode == mode
        return np.array(picture)
