"""Cityscapes: leftImg8bit and gtFine with labelIds and labelTrainIds.

All files are of one city, "diffumask": `diffumask_Bird_000012_leftImg8bit.png` has the city, a
sequence and a frame, as the tools of Cityscapes take names apart. Cityscapes knows no background:
it and 255 become 0 (unlabeled), which is 255 in the trainIds and is not trained on.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffumask.errors import InputError
from diffumask.formats.items import SPLITS, Selection
from diffumask.labelled.coding import name_key
from diffumask.labelled.values import CITYSCAPES_NAMES
from diffumask.records import encode_class_map
from diffumask.types import IGNORE_ID

CITY = "diffumask"
UNLABELED = 0


def write_cityscapes(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write class ids as labelIds, classes being matched by name.

    Raises InputError for classes that Cityscapes does not evaluate.
    """
    label_ids = match_classes(selection.class_ids)
    train_ids = {label_id: i for i, label_id in enumerate(CITYSCAPES_NAMES)}
    to_label = np.full(IGNORE_ID + 1, UNLABELED, np.uint8)
    to_train = np.full(IGNORE_ID + 1, IGNORE_ID, np.uint8)
    for class_id, label_id in label_ids.items():
        to_label[class_id] = label_id
        to_train[class_id] = train_ids[label_id]
    for split in SPLITS:
        images, truth = (folder / kind / split / CITY for kind in ("leftImg8bit", "gtFine"))
        images.mkdir(parents=True)
        truth.mkdir(parents=True)
        for item in selection.items(split):
            stem = f"{CITY}_{item.name}"
            shutil.copyfile(item.image_file, images / f"{stem}_leftImg8bit.png")
            for kind, table in (("labelIds", to_label), ("labelTrainIds", to_train)):
                encoded = encode_class_map(table[item.class_map])
                (truth / f"{stem}_gtFine_{kind}.png").write_bytes(encoded)
    return []


def match_classes(class_ids: Mapping[str, int]) -> dict[int, int]:
    """Find the labelId of each class by its name."""
    known = {name_key(name): label_id for label_id, name in CITYSCAPES_NAMES.items()}
    unknown = [name for name in class_ids if name_key(name) not in known]
    if unknown:
        raise InputError(
            f"expected classes of Cityscapes ({', '.join(CITYSCAPES_NAMES.values())}), got "
            f"{', '.join(unknown)}; choose another format"
        )
    return {class_id: known[name_key(name)] for name, class_id in class_ids.items()}
