"""Cityscapes: leftImg8bit, and gtFine with every file that its tools read.

All files are of one city, "diffumask": `diffumask_Bird_000012_leftImg8bit.png` has the city, a
sequence and a frame, as the tools of Cityscapes take names apart. Cityscapes knows no background:
it and 255 become 0 (unlabeled), which is 255 in the trainIds and is not trained on. Masks are
grey, as those of Cityscapes are: OpenCV reads a palette as colours.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.dataset.pair import class_ids
from diffumask.errors import InputError
from diffumask.labelled.class_tables import read_class_tables
from diffumask.types import IGNORE_ID, ClassIds, ClassMap, Mask

from .encode import encode_png
from .items import SPLITS, ExportItem, Selection, masks_of
from .polygons import MIN_POINTS, polygons

CITY = "diffumask"
UNLABELED = 0
INSTANCES = 1000  # of a class: an instance is 1000 * labelId + its number from 0
GROUP = "group"  # what ends the name of a label whose objects are not told apart
OPAQUE = 255


@dataclass(frozen=True, slots=True)
class Label:
    """A class that Cityscapes evaluates; `colour` is red, green and blue."""

    name: str
    label_id: int
    train_id: int
    colour: tuple[int, int, int]
    has_instances: bool


@dataclass(frozen=True, slots=True)
class _Object:
    """Pixels of one label; `value` is that of _instanceIds.png."""

    label: Label
    value: int
    mask: Mask


def write_cityscapes(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write the five files of gtFine for each item, classes being matched by name.

    With `instances` each component of a class that has instances in Cityscapes is one, else all
    its pixels are. Raises InputError for an item that shows a class of no such name.
    """
    labels = match_classes(selection.class_ids)
    for split in SPLITS:
        images, truth = (folder / kind / split / CITY for kind in ("leftImg8bit", "gtFine"))
        images.mkdir(parents=True)
        truth.mkdir(parents=True)
        for item in selection.items(split):
            _refuse_unknown(item, labels, selection.class_ids)
            stem = f"{CITY}_{item.name}"
            shutil.copyfile(item.image_file, images / f"{stem}_leftImg8bit.png")
            objects = list(_objects(item.pair.class_map, labels, instances))
            for ending, content in _truth(item.pair.class_map.shape, objects).items():
                (truth / f"{stem}_gtFine_{ending}").write_bytes(content)
    return []


def match_classes(class_ids: Mapping[str, int]) -> dict[int, Label]:
    """Find the label of each class by its name or an alias; other classes are left out."""
    table = read_class_tables()["cityscapes"]
    known = ClassIds(table["classes"], table["aliases"])
    names = {class_id: known.find(name) for name, class_id in class_ids.items()}
    return {class_id: _labels()[name] for class_id, name in names.items() if name is not None}


@cache
def _labels() -> dict[str, Label]:
    tables = read_class_tables()
    table, train_ids = tables["cityscapes"], tables["cityscapes-train-ids"]["classes"]
    return {
        name: Label(
            name,
            label_id,
            train_ids[name],
            tuple(table["colours"][name]),
            name in table["instances"],
        )
        for name, label_id in table["classes"].items()
    }


def _refuse_unknown(
    item: ExportItem, labels: Mapping[int, Label], named: Mapping[str, int]
) -> None:
    found = class_ids(item.pair.class_map)
    unknown = [name for name, value in named.items() if value in found and value not in labels]
    if unknown:
        raise InputError(
            f"expected classes of Cityscapes ({', '.join(_labels())}), got "
            f"{', '.join(unknown)} in {item.name}; choose another format"
        )


def _objects(
    class_map: ClassMap, labels: Mapping[int, Label], instances: bool
) -> Iterator[_Object]:
    """Yield the objects of an image, the largest of a label first.

    More than 1,000 have no numbers: those that are left over are a group.
    """
    found: dict[Label, list[Mask]] = {}
    for class_id, mask in masks_of(class_map, instances):
        found.setdefault(labels[class_id], []).append(mask)
    for label, masks in found.items():
        by_area = sorted(masks, key=np.count_nonzero, reverse=True)
        for number, mask in enumerate(by_area):
            told_apart = label.has_instances and number < INSTANCES
            value = label.label_id * INSTANCES + number if told_apart else label.label_id
            yield _Object(label, value, mask)


def _truth(size_hw: tuple[int, ...], objects: list[_Object]) -> dict[str, bytes]:
    """Encode what the objects are, by the ending of the file."""
    label_ids, colours = np.full(size_hw, UNLABELED, np.uint8), np.zeros((*size_hw, 4), np.uint8)
    train_ids, instance_ids = np.full(size_hw, IGNORE_ID, np.uint8), np.zeros(size_hw, np.uint16)
    colours[..., 3] = OPAQUE
    for one in objects:
        label_ids[one.mask] = one.label.label_id
        train_ids[one.mask] = one.label.train_id
        instance_ids[one.mask] = one.value
        colours[one.mask] = (*one.label.colour, OPAQUE)
    return {
        "labelIds.png": encode_png(label_ids),
        "labelTrainIds.png": encode_png(train_ids),
        "instanceIds.png": encode_png(instance_ids),
        "color.png": encode_png(colours),
        "polygons.json": json.dumps(_annotation(size_hw, objects)).encode(),
    }


def _annotation(size_hw: tuple[int, ...], objects: list[_Object]) -> dict[str, Any]:
    height, width = size_hw
    drawn = [
        {"label": _name(one), "polygon": _closed(outline.tolist())}
        for one in objects
        for outline in polygons(one.mask)
    ]
    return {"imgHeight": height, "imgWidth": width, "objects": drawn}


def _name(shape: _Object) -> str:
    is_group = shape.label.has_instances and shape.value < INSTANCES
    return f"{shape.label.name}{GROUP if is_group else ''}"


def _closed(points: list[list[int]]) -> list[list[int]]:
    """Repeat points of what is one pixel or line wide: polygons of fewer than 3 are not drawn."""
    return points if len(points) >= MIN_POINTS else (points * MIN_POINTS)[:MIN_POINTS]
