"""The name of an item, and where its files are in the dataset."""

import re
from typing import Any

from diffumask.errors import InputError

IMAGES_FOLDER, MASKS_FOLDER, MAPS_FOLDER = "images", "masks", "maps"
IMAGE, MASK, MAPS = "image", "mask", "maps"
ITEM_NAME = re.compile(r"[A-Z0-9][A-Za-z0-9]*_[0-9]{6,}")


def file_stem(class_name: str) -> str:
    """Make a safe file name of whatever class name: "potted plant" -> "PottedPlant".

    Words are capitalised because `datasets` takes files such as "train_000012.png" and
    "test_000012.png" for those of a split. Raises InputError for a class name without a Latin
    letter or digit.
    """
    words = re.findall(r"[A-Za-z0-9]+", class_name)
    if not words:
        raise InputError(f"expected letters a-z or digits in a class name, got {class_name!r}")
    return "".join(word[0].upper() + word[1:] for word in words)


def item_name(class_name: str, index: int) -> str:
    """Name an item after its class and index: ("potted plant", 12) -> "PottedPlant_000012"."""
    return f"{file_stem(class_name)}_{index:06d}"


def named_item(tree: Any) -> str | None:
    """Return the name of the item whose files in the folder a JSON value names; None for none."""
    file_name = tree.get("file_name") if isinstance(tree, dict) else None
    stem = file_name.rpartition("/")[2].rpartition(".")[0] if isinstance(file_name, str) else ""
    if not ITEM_NAME.fullmatch(stem):
        return None
    paths = item_paths(stem)
    return stem if all(tree.get(key, path) == path for key, path in paths.items()) else None


def item_paths(name: str) -> dict[str, str]:
    """Return the two files of an item, relative to the folder, by their keys in the record."""
    paths = file_paths(name)
    return {"file_name": paths[IMAGE], "mask_file_name": paths[MASK]}


def file_paths(name: str) -> dict[str, str]:
    """Return where the files of an item are, or would be, relative to the folder, by their kind."""
    if not ITEM_NAME.fullmatch(name):
        raise ValueError(f"expected a name made by item_name, got {name!r}")
    return {
        IMAGE: f"{IMAGES_FOLDER}/{name}.png",
        MASK: f"{MASKS_FOLDER}/{name}.png",
        MAPS: f"{MAPS_FOLDER}/{name}.safetensors",
    }
