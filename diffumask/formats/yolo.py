"""YOLO segmentation: a text file for each image with a polygon a line.

Points lie in the centres of pixels, `(x + 0.5) / width`, so that readers that cut off the
fraction get the pixel back. Background and 255 are what no polygon covers.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from diffumask.formats.items import SPLITS, Selection, masks_of
from diffumask.formats.polygons import Points, polygons
from diffumask.types import ClassMap

MIN_POINTS = 3


def write_yolo(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write a line for each 8-connected component, with or without `instances`.

    Returns a note of the components that are no area, being one pixel or line wide, and left out.
    """
    indices = {class_id: i for i, class_id in enumerate(selection.class_ids.values())}
    left_out = 0
    for split in SPLITS:
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for item in selection.items(split):
            shutil.copyfile(item.image_file, images / f"{item.name}.png")
            lines, thin = to_lines(item.class_map, indices)
            left_out += thin
            (labels / f"{item.name}.txt").write_text("".join(lines), "utf-8")
    (folder / "data.yaml").write_text(_data_yaml(list(selection.class_ids)), "utf-8")
    many = f"{left_out} components of one pixel or one straight line have no polygon"
    return [many] if left_out else []


def to_lines(class_map: ClassMap, indices: dict[int, int]) -> tuple[list[str], int]:
    """Write the lines of an image, and count the components that have no polygon."""
    outlines = [
        (indices[class_id], outline)
        for class_id, mask in masks_of(class_map, instances=False)
        for outline in polygons(mask)
    ]
    lines = [_line(i, one, class_map.shape) for i, one in outlines if len(one) >= MIN_POINTS]
    return lines, len(outlines) - len(lines)


def _line(index: int, outline: Points, size_hw: tuple[int, ...]) -> str:
    height, width = size_hw
    places = (outline + 0.5) / np.array([width, height])
    return " ".join([str(index), *(f"{place:.6f}" for place in places.ravel())]) + "\n"


def _data_yaml(names: list[str]) -> str:
    # Without `path` readers take the folder of this file, so that the dataset can be moved.
    quoted = [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(names)]
    return "\n".join(["train: images/train", "val: images/val", "names:", *quoted]) + "\n"
