"""Label Studio: tasks with a brush region for each class; its JSON and JSON-MIN with masks back."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.errors import InputError
from diffumask.labelled.shapes import draw_polygons
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Mask

from .archive import Archive
from .brush import decode_mask, encode_mask
from .corrected import Originals, Region
from .items import ExportItem, Selection, masks_of
from .labelmap import hex_colour, label_names

TASKS_FILE, CONFIG_FILE = "tasks.json", "label_config.xml"
FROM_NAME, TO_NAME, IMAGE_KEY, ITEM_KEY = "tag", "image", "image", "item"
BRUSH_LABELS = "brushlabels"
LOCAL_FILES = "/data/local-files/?d=images/"
BRUSH, POLYGON = "rle", "points"  # what the value of a region has, by its kind
OF_NO_USE = ("imageDataURL", "vertices")
LABELS = "labels"  # brushlabels, polygonlabels, ...
TYPE = "type"


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


def _task(item: ExportItem, names: Mapping[int, str], instances: bool) -> dict[str, Any]:
    regions = [(names[value], mask) for value, mask in masks_of(item.pair.class_map, instances)]
    ignored = item.pair.class_map == IGNORE_ID
    if ignored.any():
        regions.append((names[IGNORE_ID], ignored))
    result = [_brush_region(i, label, mask) for i, (label, mask) in enumerate(regions)]
    return {
        "data": {IMAGE_KEY: f"{LOCAL_FILES}{item.name}.png", ITEM_KEY: item.name},
        "predictions": [{"model_version": "diffumask", "result": result}],
    }


def _brush_region(index: int, label: str, mask: Mask) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": f"region{index}",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "type": BRUSH_LABELS,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_mask(mask), BRUSH_LABELS: [label]},
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


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one person drew on the image of a task, and when."""

    data: Mapping[str, Any]
    updated_at: Any
    values: Sequence[Mapping[str, Any]]


def read_label_studio(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the class map of each task that has an annotation.

    Of several annotations of a task the latest counts; regions that come later lie above. A task
    with boxes alone is passed over. Raises InputError for another export, other images or sizes,
    unknown labels, and regions without a label or of a kind that is not known.
    """
    if not archive.ending(".json"):
        raise InputError(
            f"expected one .json in {archive.path}, got {archive.some_files()}; export as JSON or "
            "JSON-MIN, as masks in PNG do not name their images"
        )
    path = archive.single(".json")
    try:
        for one in _latest(archive.json(path)):
            name = originals.item_of(one.data.get(ITEM_KEY) or one.data[IMAGE_KEY])
            size_hw = originals.size_hw(name)
            regions = _regions(name, one.values, size_hw, originals)
            class_map = originals.draw(name, regions, knows_ignore=True)
            if class_map is not None:
                yield name, class_map
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"expected {path} as Label Studio exports JSON or JSON-MIN, got something else "
            f"({error!r}); export as one of these"
        ) from error


def _latest(tasks: Any) -> list[Annotation]:
    """Return the latest annotation of each task that has one."""
    found: dict[Any, Annotation] = {}
    for position, task in enumerate(tasks):
        is_min = "annotations" not in task  # then a line for each annotation, not for each task
        key = (task.get("id", position),) if is_min else position
        for one in _of_min(task) if is_min else _of_json(task):
            if key not in found or one.updated_at > found[key].updated_at:
                found[key] = one
    return list(found.values())


def _of_json(task: Any) -> Iterator[Annotation]:
    for one in task["annotations"]:
        if not one.get("was_cancelled"):
            values = [
                _upright(region) for region in one["result"] if region.get("value") is not None
            ]
            yield Annotation(task["data"], one.get("updated_at") or "", values)


def _upright(region: Any) -> Mapping[str, Any]:
    if region.get("image_rotation"):
        raise InputError(
            f"expected images that are upright, got a region on one turned by "
            f"{region['image_rotation']} degrees; turn it back"
        )
    sizes = {key: region[key] for key in ("original_width", "original_height") if key in region}
    return {**region["value"], **sizes, TYPE: region["type"]}


def _of_min(line: Any) -> Iterator[Annotation]:
    if line["annotation_id"] is not None:
        lists = [one for one in line.values() if isinstance(one, list)]
        values = [value for one in lists for value in one if isinstance(value, dict)]
        yield Annotation(line, line.get("updated_at") or "", values)


def _regions(
    name: str,
    values: Sequence[Mapping[str, Any]],
    size_hw: tuple[int, int],
    originals: Originals,
) -> Iterator[Region]:
    """Draw each region once: its label may lie in another value of the same shape."""
    labels: dict[Any, list[Any]] = {}
    for value in values:
        labels.setdefault(_shape(value), []).extend(_labels_of(value))
    drawn: set[Any] = set()
    for value in values:
        shape = _shape(value)
        if BRUSH in value or POLYGON in value:
            if shape in drawn:
                continue
            drawn.add(shape)
            height, width = value["original_height"], value["original_width"]
            originals.check_size(name, (height, width))
            yield _drawn(value, _only_label(name, labels[shape]), size_hw)
        elif "x" in value and shape not in drawn:
            drawn.add(shape)
            yield Region("", None, "boxes" if "width" in value else "ellipses and points")
        elif "x" in value:
            continue
        elif _is_region(value):
            raise InputError(
                f"expected regions of the brush or polygons on {name}, got "
                f"{', '.join(sorted(value))}; paint them instead"
            )


def _is_region(value: Mapping[str, Any]) -> bool:
    """Tell what is drawn, in whatever way, from answers about the whole image."""
    is_labels = str(value.get(TYPE, "")).endswith(LABELS)
    return is_labels or bool(_labels_of(value)) or any(key in value for key in OF_NO_USE)


def _only_label(name: str, labels: Sequence[Any]) -> Any:
    different = list(dict.fromkeys(labels))
    if len(different) != 1:
        raise InputError(
            f"expected one label for each region of {name}, got "
            f"{', '.join(map(str, different)) or 'a region without'}; label it or delete it"
        )
    return different[0]


def _drawn(value: Mapping[str, Any], label: Any, size_hw: tuple[int, int]) -> Region:
    if BRUSH in value:
        return Region(label, decode_mask(value[BRUSH], size_hw), "brush regions")
    height, width = size_hw
    points = np.array(value[POLYGON], np.float64) / 100 * (width, height)  # from percent
    return Region(label, draw_polygons([points.ravel()], size_hw), "polygons")


def _labels_of(value: Mapping[str, Any]) -> list[Any]:
    return [label for key in value if key.endswith(LABELS) for label in value[key]]


def _shape(value: Mapping[str, Any]) -> Any:
    """Tell regions apart by where they are: a region with choices of its own comes twice."""
    places = (BRUSH, POLYGON, "x", "y", "width", "height", "radiusX", "radiusY")
    return repr([value.get(key) for key in places])
