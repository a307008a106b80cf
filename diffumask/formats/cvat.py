"""CVAT: images to make a task of and masks in the format "Segmentation mask 1.1", there and back.

Exports as "CVAT for images 1.1" are read too.

Masks are in the colours of labelmap.txt, in which every colour is declared: CVAT refuses an
index 255 that is not. What is to be ignored is the label "ignore". Objects are always there:
without them the reader of CVAT takes the background for a label too.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from diffumask.errors import InputError
from diffumask.labelled.names import LABELMAP_FILE, read_labelmap
from diffumask.labelled.shapes import draw_polygons, draw_runs
from diffumask.types import BACKGROUND_ID, ClassMap, Mask

from .archive import MAX_TEXT_BYTES, Archive
from .corrected import Originals, Region
from .encode import encode_png
from .instances import instance_map
from .items import Selection
from .labelmap import hex_colour, label_names, paint, unpaint, write_labelmap

CLASS_FOLDER, OBJECT_FOLDER, LIST_FOLDER = (
    "SegmentationClass",
    "SegmentationObject",
    "ImageSets/Segmentation",
)
COLOURED = ("RGB", "RGBA", "P")
WITHOUT_MASK = {
    "box": "boxes",
    "ellipse": "ellipses",
    "polyline": "lines",
    "points": "points",
    "cuboid": "cuboids",
    "skeleton": "skeletons",
}
EXPORTS = '"CVAT for images 1.1" or "Segmentation mask 1.1"'


def write_cvat(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write images/, annotations.zip and labels.json for the raw view of CVAT's labels.

    With `instances` each component is an object of its own, else each class of an image is.
    """
    (folder / "images").mkdir()
    labelmap = write_labelmap(selection.class_ids)
    (folder / "labels.json").write_text(_labels(selection.class_ids), "utf-8")
    names: list[str] = []
    with zipfile.ZipFile(folder / "annotations.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        _add(packed, LABELMAP_FILE, labelmap.encode())
        for item in selection.items():
            names.append(item.name)
            shutil.copyfile(item.image_file, folder / "images" / f"{item.name}.png")
            _add(packed, f"{CLASS_FOLDER}/{item.name}.png", encode_png(paint(item.pair.class_map)))
            numbers, _ = instance_map(item.pair.class_map, instances)
            _add(packed, f"{OBJECT_FOLDER}/{item.name}.png", encode_png(paint(numbers)))
        listed = "".join(f"{name}\n" for name in names)
        _add(packed, f"{LIST_FOLDER}/default.txt", listed.encode())
    return []


def read_cvat(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the class map of each image of an export as masks, or as "CVAT for images 1.1".

    An image that is listed and has no mask is all background. Raises InputError for an archive
    of another structure, other images, and labels that the dataset does not have.
    """
    if archive.ending(".xml") and not archive.ending(LABELMAP_FILE):
        yield from _read_xml(archive, archive.single(".xml"), originals)
        return
    if not archive.ending(LABELMAP_FILE):
        raise InputError(
            f"expected {LABELMAP_FILE} or an XML file in {archive.path}, got "
            f"{archive.some_files()}; export the task as {EXPORTS}"
        )
    labelmap = archive.single(LABELMAP_FILE)
    top = labelmap.removesuffix(LABELMAP_FILE)
    colours = read_labelmap(archive.text(labelmap))
    values = {label: originals.value_of(label) for label in colours}
    masked: set[str] = set()
    for path in archive.ending(".png"):
        if path.startswith(f"{top}{CLASS_FOLDER}/"):
            name = originals.item_of(path)
            masked.add(name)
            painted = archive.png(path, originals.size_hw(name), COLOURED)
            yield name, unpaint(painted, values, colours)
    for path in archive.ending(".txt"):
        if path.startswith(f"{top}{LIST_FOLDER}/"):
            for line in filter(None, map(str.strip, archive.text(path).splitlines())):
                # a list holds names without an ending
                name = originals.item_of(f"{PurePosixPath(line).name}.png")
                if name not in masked:
                    masked.add(name)
                    yield name, np.full(originals.size_hw(name), BACKGROUND_ID, np.uint8)


def _labels(class_ids: Mapping[str, int]) -> str:
    labels = [
        {"name": name, "color": hex_colour(value), "attributes": []}
        for value, name in label_names(class_ids).items()
        if value != BACKGROUND_ID
    ]
    return json.dumps(labels, ensure_ascii=False, indent=2) + "\n"


def _add(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file under a fixed date, so that the same items make the same archive."""
    packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _read_xml(archive: Archive, path: str, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the class map of each image, whose regions lie in the order of CVAT's layers.

    An image without regions is all background; one that has boxes alone is passed over. The file
    is read image by image, and nothing that it declares or includes is followed. Raises InputError
    for another structure, other images or sizes, unknown labels and broken shapes.
    """
    content = io.BytesIO(archive.read(path, MAX_TEXT_BYTES))
    labels: set[str] = set()
    try:
        for _, element in iterparse(content, ("end",), forbid_dtd=True):
            if element.tag == "label":
                labels.add(element.findtext("name") or "")
            elif element.tag == "track":
                raise InputError(f"expected {EXPORTS}, got a video in {path}; export as one")
            elif element.tag == "image":
                name = originals.item_of(element.attrib["name"])
                size_hw = int(element.attrib["height"]), int(element.attrib["width"])
                originals.check_size(name, size_hw)
                regions = _regions(element, size_hw)
                class_map = originals.draw(name, regions, originals.knows_ignore(labels))
                element.clear()
                if class_map is not None:
                    yield name, class_map
    except InputError:
        raise
    except (SyntaxError, DefusedXmlException, KeyError, ValueError, OverflowError) as error:
        raise InputError(
            f"expected CVAT's XML in {path}, got something else ({error!r}); export the task as "
            f"{EXPORTS}"
        ) from error


def _regions(image: Any, size_hw: tuple[int, int]) -> Iterator[Region]:
    for shape in sorted(image, key=lambda one: int(one.get("z_order", 0))):
        if shape.tag == "mask":
            yield Region(shape.attrib["label"], _mask(shape.attrib, size_hw), "masks")
        elif shape.tag == "polygon":
            points = shape.attrib["points"].replace(";", ",").split(",")
            mask = draw_polygons([list(map(float, points))], size_hw)
            yield Region(shape.attrib["label"], mask, "polygons")
        elif shape.tag in WITHOUT_MASK:
            yield Region(shape.attrib["label"], None, WITHOUT_MASK[shape.tag])


def _mask(attributes: Any, size_hw: tuple[int, int]) -> Mask:
    """Draw the run lengths of a mask, which go row by row through a part of the image."""
    left, top, width, height = (int(attributes[key]) for key in ("left", "top", "width", "height"))
    mask = np.zeros(size_hw, bool)
    is_inside = left + width <= size_hw[1] and top + height <= size_hw[0]
    if min(left, top, width, height) < 0 or not is_inside:
        raise InputError(
            f"expected masks within {size_hw[0]}x{size_hw[1]} pixels, got one beyond; export again"
        )
    runs = [int(count) for count in attributes["rle"].split(",")]
    mask[top : top + height, left : left + width] = draw_runs(runs, (height, width))
    return mask
