"""Small datasets to export: whatever class maps, non-square, with colours that JPEG keeps."""

import numpy as np

from diffumask.store import open_store
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
