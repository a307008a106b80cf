"""CVAT for images 1.1: an XML file with the masks and polygons of each image."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from diffumask.errors import InputError
from diffumask.labelled.shapes import draw_polygons, draw_runs
from diffumask.types import ClassMap, Mask

from .archive import MAX_TEXT_BYTES, Archive
from .corrected import Originals, Region

WITHOUT_MASK = {
    "box": "boxes",
    "ellipse": "ellipses",
    "polyline": "lines",
    "points": "points",
    "cuboid": "cuboids",
    "skeleton": "skeletons",
}
EXPORTS = '"CVAT for images 1.1" or "Segmentation mask 1.1"'


def read_cvat_xml(
    archive: Archive, path: str, originals: Originals
) -> Iterator[tuple[str, ClassMap]]:
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
