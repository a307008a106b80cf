"""CVAT: images to make a task of and masks in the format "Segmentation mask 1.1", there and back.

Exports as "CVAT for images 1.1" are read too.

Masks are in the colours of labelmap.txt, in which every colour is declared: CVAT refuses an
index 255 that is not. What is to be ignored is the label "ignore". Objects are always there:
without them the reader of CVAT takes the background for a label too.
"""

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from diffumask.errors import InputError
from diffumask.labelled.names import LABELMAP_FILE, read_labelmap
from diffumask.types import BACKGROUND_ID, ClassMap

from .archive import Archive
from .corrected import Originals
from .cvat_xml import EXPORTS, read_cvat_xml
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
            _add(packed, f"{CLASS_FOLDER}/{item.name}.png", encode_png(paint(item.class_map)))
            numbers, _ = instance_map(item.class_map, instances)
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
        yield from read_cvat_xml(archive, archive.one(".xml"), originals)
        return
    if not archive.ending(LABELMAP_FILE):
        raise InputError(
            f"expected {LABELMAP_FILE} or an XML file in {archive.path}, got "
            f"{archive.some_files()}; export the task as {EXPORTS}"
        )
    labelmap = archive.one(LABELMAP_FILE)
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
