"""Label Studio: tasks with a brush region for each class, and the JSON export of corrected ones."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.errors import InputError
from diffumask.formats.archive import Archive
from diffumask.formats.brush import decode_mask, encode_mask
from diffumask.formats.corrected import Originals
from diffumask.formats.items import Item, Selection, masks_of
from diffumask.formats.labelmap import hex_colour, label_names
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Mask

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


def read_label_studio(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the class map of each task that has an annotation, from an export as JSON.

    Of several annotations of a task the latest counts; regions that come later lie above. Raises
    InputError for another export, other images or sizes, unknown labels and regions that are no
    brush.
    """
    path = archive.one(".json")
    try:
        for task in archive.json(path):
            annotations = [one for one in task["annotations"] if not one.get("was_cancelled")]
            if annotations:
                latest = max(annotations, key=lambda one: one.get("updated_at") or "")
                data = task["data"]
                name = originals.item_of(data.get(ITEM_KEY) or data[IMAGE_KEY])
                yield name, _class_map(latest["result"], originals.size_hw(name), originals)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"expected {path} as Label Studio exports JSON, got something else ({error!r}); export "
            "as JSON"
        ) from error


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


def _class_map(result: Any, size_hw: tuple[int, int], originals: Originals) -> ClassMap:
    class_map = np.full(size_hw, BACKGROUND_ID, np.uint8)
    for region in result:
        kind = region["type"]
        if kind != BRUSH:
            if kind.endswith("labels"):
                raise InputError(f"expected regions of the brush, got {kind}; paint them instead")
            continue
        (label,) = region["value"][BRUSH]
        if (region["original_height"], region["original_width"]) != size_hw:
            raise InputError(
                f"expected regions of {size_hw[0]}x{size_hw[1]} pixels as the image has, got "
                f"{region['original_height']}x{region['original_width']}"
            )
        mask = decode_mask(region["value"]["rle"], size_hw)
        class_map[mask] = originals.known_value(label)
    return class_map


def _config(names: Mapping[int, str]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=TO_NAME, value=f"${IMAGE_KEY}", zoom="true")
    labels = ET.SubElement(view, "BrushLabels", name=FROM_NAME, toName=TO_NAME)
    for value, name in names.items():
        if value != BACKGROUND_ID:
            ET.SubElement(labels, "Label", value=name, background=hex_colour(value))
    ET.indent(view)
    return ET.tostring(view, "utf-8") + b"\n"
