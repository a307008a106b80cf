"""YOLO: a text file for each image, with a polygon or a box a line.

Points of polygons lie just before the centres of pixels, `(x + 0.49) / width`: readers that cut
off the fraction, round, or draw at the size of the image get the pixel back, and those that put
points between them, as ultralytics does, meet the pixels of slanting edges too. Background and
255 are what no polygon covers.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from diffumask.types import ClassMap

from .instances import box_of
from .items import SPLITS, Selection, masks_of
from .polygons import MIN_POINTS, polygons

POINT_IN_PIXEL = 0.49

ToLines = Callable[[ClassMap, Mapping[int, int]], tuple[list[str], int]]


def write_yolo(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write a polygon for each 8-connected component, with or without `instances`.

    Returns a note of the components that are no area, being one pixel or line wide, and left out.
    """
    left_out = _write(selection, folder, to_lines)
    many = f"{left_out} components of one pixel or one straight line have no polygon"
    return [many] if left_out else []


def write_yolo_boxes(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write a box for each class of an image, or for each of its components."""
    _write(selection, folder, partial(to_boxes, instances=instances))
    return []


def _write(selection: Selection, folder: Path, lines_of: ToLines) -> int:
    """Write images, lines and data.yaml, and return how many components have no line."""
    indices = {class_id: i for i, class_id in enumerate(selection.class_ids.values())}
    left_out = 0
    for split in SPLITS:
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for item in selection.items(split):
            shutil.copyfile(item.image_file, images / f"{item.name}.png")
            lines, thin = lines_of(item.pair.class_map, indices)
            left_out += thin
            (labels / f"{item.name}.txt").write_text("".join(lines), "utf-8")
    (folder / "data.yaml").write_text(_data_yaml(list(selection.class_ids)), "utf-8")
    return left_out


def to_boxes(
    class_map: ClassMap, indices: Mapping[int, int], instances: bool
) -> tuple[list[str], int]:
    """Write a line `index centre_x centre_y width height` for each object, in shares of 1.

    Every object has a box: the second value is 0.
    """
    height, width = class_map.shape
    lines: list[str] = []
    for class_id, mask in masks_of(class_map, instances):
        left, top, right, bottom = box_of(mask)
        box = np.array([left + right, top + bottom, 2 * (right - left), 2 * (bottom - top)])
        lines.append(_line(indices[class_id], box / (2 * np.array([width, height] * 2))))
    return lines, 0


def to_lines(class_map: ClassMap, indices: Mapping[int, int]) -> tuple[list[str], int]:
    """Write the lines of an image, and count the components that have no polygon."""
    height, width = class_map.shape
    outlines = [
        (indices[class_id], outline)
        for class_id, mask in masks_of(class_map, instances=False)
        for outline in polygons(mask)
    ]
    lines = [
        _line(index, (outline + POINT_IN_PIXEL) / np.array([width, height]))
        for index, outline in outlines
        if len(outline) >= MIN_POINTS
    ]
    return lines, len(outlines) - len(lines)


def _line(index: int, places: np.ndarray) -> str:
    return " ".join([str(index), *(f"{place:.6f}" for place in places.ravel())]) + "\n"


def _data_yaml(names: list[str]) -> str:
    # Without `path` readers take the folder of this file, so that the dataset can be moved.
    quoted = [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(names)]
    return "\n".join(["train: images/train", "val: images/val", "names:", *quoted]) + "\n"
