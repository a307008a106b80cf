"""Plain folders: images/ and masks/ by the same names, classes.json and labels.csv (splits)."""

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from diffumask.dataset.encode import encode_class_map
from diffumask.errors import InputError
from diffumask.labelled.listing import LIST_FILE
from diffumask.labelled.mapping import N_VALUES
from diffumask.labelled.names import CLASSES_FILE, check_class_ids
from diffumask.labelled.pixels import INDEX_MODES
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap

from .archive import Archive
from .corrected import Originals
from .encode import encode_png
from .items import Selection


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
            (folder / mask).write_bytes(encode(item.pair.class_map))
            rows.writerow([image, mask, item.split])
    write_classes(selection, folder)
    return []


def write_classes(selection: Selection, folder: Path) -> None:
    """Write classes.json, the id of each class."""
    content = json.dumps(selection.class_ids, ensure_ascii=False, indent=2) + "\n"
    (folder / CLASSES_FILE).write_text(content, "utf-8")


def read_plain(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the index masks of masks/, or of the whole archive where it has no such folder.

    Where classes.json lies beside them their ids are matched with the dataset's by name. Raises
    InputError for other images, for PNG in colours, and for ids of no class of the dataset.
    """
    found = archive.ending(".png")
    if not found:
        raise InputError(
            f"expected masks as PNG in {archive.path}, got {archive.some_files()}; save a PNG of "
            "class ids for each item"
        )
    values = _values(archive, originals)
    in_masks = [path for path in found if "masks" in PurePosixPath(path).parts[:-1]]
    for path in in_masks or found:
        name = originals.item_of(path)
        indices = archive.png(path, originals.size_hw(name), INDEX_MODES).astype(np.uint8)
        yield name, indices if values is None else _translated(indices, values, path)


def _values(archive: Archive, originals: Originals) -> dict[int, int | None] | None:
    """Return what each id in the masks stands for, None for a class that the dataset lacks."""
    if not archive.ending(CLASSES_FILE):
        return None
    path = archive.single(CLASSES_FILE)
    ids = check_class_ids(archive.json(path), path)
    named = {value: originals.value_of(name) for name, value in ids.items()}
    return {BACKGROUND_ID: BACKGROUND_ID, IGNORE_ID: IGNORE_ID, **named}


def _translated(indices: ClassMap, values: Mapping[int, int | None], path: str) -> ClassMap:
    table = np.zeros(N_VALUES, np.uint8)
    for value in map(int, np.unique(indices)):
        found = values.get(value)
        if found is None:
            raise InputError(
                f"expected ids of classes of the dataset in {path}, as {CLASSES_FILE} lists them, "
                f"got {value}; mend the mask"
            )
        table[value] = found
    return table[indices]
