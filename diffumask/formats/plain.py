"""Plain folders: images/ and masks/ by the same names, classes.json and labels.csv (splits)."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from diffumask.formats.archive import Archive
from diffumask.formats.corrected import Originals
from diffumask.formats.encode import encode_png
from diffumask.formats.items import Selection
from diffumask.labelled.layouts import LIST_FILE
from diffumask.labelled.pixels import INDEX_MODES
from diffumask.records import encode_class_map
from diffumask.types import ClassMap

CLASSES_FILE = "classes.json"


def write_plain(
    selection: Selection, folder: Path, instances: bool, grey: bool = False
) -> list[str]:
    """Write images and index masks, as `diffumask evaluate` reads them in the layout plain.

    Masks are palette PNG, or `grey` for OpenCV and others that take a palette for colours.
    """
    encode = encode_png if grey else encode_class_map
    for name in ("images", "masks"):
        (folder / name).mkdir()
    with open(folder / LIST_FILE, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "mask", "split"])
        for item in selection.items():
            image, mask = f"images/{item.name}.png", f"masks/{item.name}.png"
            shutil.copyfile(item.image_file, folder / image)
            (folder / mask).write_bytes(encode(item.class_map))
            rows.writerow([image, mask, item.split])
    write_classes(selection, folder)
    return []


def write_classes(selection: Selection, folder: Path) -> None:
    """Write classes.json, the id of each class."""
    content = json.dumps(selection.class_ids, ensure_ascii=False, indent=2) + "\n"
    (folder / CLASSES_FILE).write_text(content, "utf-8")


def read_plain(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the index masks of masks/, or of the whole archive where it has no such folder.

    Raises InputError for other images and for PNG in colours.
    """
    found = archive.ending(".png")
    in_masks = [path for path in found if "masks" in PurePosixPath(path).parts[:-1]]
    for path in in_masks or found:
        name = originals.item_of(path)
        yield name, archive.png(path, originals.size_hw(name), INDEX_MODES).astype(np.uint8)
