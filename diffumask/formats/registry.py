"""The formats by name."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from diffumask.errors import InputError
from diffumask.types import ClassMap

from .archive import Archive
from .cityscapes import write_cityscapes
from .coco import write_coco
from .coco_masks import read_coco
from .corrected import Originals
from .cvat import read_cvat, write_cvat
from .hub import write_hub
from .items import Selection
from .label_studio import write_label_studio
from .label_studio_regions import read_label_studio
from .plain import read_plain, write_plain
from .shards import write_webdataset
from .voc import write_voc
from .yolo import write_yolo, write_yolo_boxes

Write = Callable[[Selection, Path, bool], list[str]]
Read = Callable[[Archive, Originals], Iterator[tuple[str, ClassMap]]]

WRITERS: dict[str, Write] = {
    "voc": write_voc,
    "coco": write_coco,
    "yolo": write_yolo,
    "yolo-detect": write_yolo_boxes,
    "cityscapes": write_cityscapes,
    "hf": write_hub,
    "webdataset": write_webdataset,
    "png": write_plain,
    "cvat": write_cvat,
    "label-studio": write_label_studio,
}
GREY_WRITERS: dict[str, Write] = {"png": partial(write_plain, grey=True)}
WITH_INSTANCES = frozenset(
    {"voc", "coco", "yolo", "yolo-detect", "cityscapes", "cvat", "label-studio"}
)
WITHOUT_SPLITS = frozenset({"cvat", "label-studio"})
# Whether class ids are contiguous by default, where there is a choice. Those who load the first
# two train with as many outputs as id2label.json has names, while ids of VOC mean its classes, and
# plain masks go back into the dataset.
CONTIGUOUS_IDS = {"hf": True, "webdataset": True, "png": False, "voc": False}
READERS: dict[str, Read] = {
    "cvat": read_cvat,
    "label-studio": read_label_studio,
    "coco": read_coco,
    "png": read_plain,
}


def writer(name: str, grey: bool = False) -> Write:
    """Return the function that writes a format, with `grey` masks in place of palettes.

    Raises InputError for an unknown one, and for one whose masks cannot be grey.
    """
    writers = GREY_WRITERS if grey else WRITERS
    return writers[_known(name, list(writers))]


def reader(name: str) -> Read:
    """Return the function that reads corrected masks. Raises InputError for an unknown format."""
    return READERS[_known(name, list(READERS))]


def _known(name: str, names: list[str]) -> str:
    if name not in names:
        raise InputError(f"expected the format {', '.join(names)}, got {name!r}")
    return name
