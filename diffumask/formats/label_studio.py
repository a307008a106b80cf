"""Label Studio: tasks with a brush region for each class."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffumask.types import BACKGROUND_ID, IGNORE_ID, Mask

from .brush import encode_mask
from .items import Item, Selection, masks_of
from .labelmap import hex_colour, label_names

TASKS_FILE, CONFIG_FILE = "tasks.json", "label_config.xml"
FROM_NAME, TO_NAME, IMAGE_KEY, ITEM_KEY = "tag", "image", "image", "item"
BRUSH = "brushlabels"
LOCAL_FILES = "/data/local-files/?d=images/"


def write_label_studio(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write images/, tasks.json with predictions, and label_config.xml.

    The images are to be served by Label Studio's local storage, with the folder as its root. With
    `instances` each component is a region of its own, else each class of an image is.
    """
    (folder / "images").mkdir()
    names = label_names(selection.class_ids)
    (folder / CONFIG_FILE).write_bytes(_config(names))
    with open(folder / TASKS_FILE, "w", encoding="utf-8") as file:
        for i, item in enumerate(selection.items()):
            shutil.copyfile(item.image_file, folder / "images" / f"{item.name}.png")
            file.write("[\n" if i == 0 else ",\n")
            json.dump(_task(item, names, instances), file, ensure_ascii=False)
        file.write("\n]\n")
    return []


def _task(item: Item, names: Mapping[int, str], instances: bool) -> dict[str, Any]:
    regions = [(names[value], mask) for value, mask in masks_of(item.class_map, instances)]
    ignored = item.class_map == IGNORE_ID
    if ignored.any():
        regions.append((names[IGNORE_ID], ignored))
    result = [_region(i, label, mask) for i, (label, mask) in enumerate(regions)]
    return {
        "data": {IMAGE_KEY: f"{LOCAL_FILES}{item.name}.png", ITEM_KEY: item.name},
        "predictions": [{"model_version": "diffumask", "result": result}],
    }


def _region(index: int, label: str, mask: Mask) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": f"region{index}",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "type": BRUSH,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_mask(mask), BRUSH: [label]},
    }


def _config(names: Mapping[int, str]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=TO_NAME, value=f"${IMAGE_KEY}", zoom="true")
    labels = ET.SubElement(view, "BrushLabels", name=FROM_NAME, toName=TO_NAME)
    for value, name in names.items():
        if value != BACKGROUND_ID:
            ET.SubElement(labels, "Label", value=name, background=hex_colour(value))
    ET.indent(view)
    return ET.tostring(view, "utf-8") + b"\n"
