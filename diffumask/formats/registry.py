"""The formats by name: how each is written and read, and what it can hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffumask.errors import InputError
from diffumask.types import ClassMap

from .archive import Archive
from .cityscapes import write_cityscapes
from .coco import read_coco, write_coco
from .corrected import Originals
from .cvat import read_cvat, write_cvat
from .hub import write_hub
from .items import Selection
from .label_studio import read_label_studio, write_label_studio
from .plain import read_plain, write_plain
from .voc import write_voc
from .webdataset import write_webdataset
from .yolo import write_yolo, write_yolo_boxes

Write = Callable[[Selection, Path, bool], list[str]]
Read = Callable[[Archive, Originals], Iterator[tuple[str, ClassMap]]]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that datasets are exported to and, if it has `read`, corrected masks come back in.

    `write_grey` writes grey masks in place of palettes. `contiguous_ids` says whether class ids
    are 1, 2, 3 ... by default, and is None where there is no choice: those who load hf and
    webdataset train with as many outputs as id2label.json has names, while ids of VOC mean its
    classes, and plain masks go back into the dataset.
    """

    write: Write
    read: Read | None = None
    write_grey: Write | None = None
    has_instances: bool = False
    has_splits: bool = True
    contiguous_ids: bool | None = None


FORMATS = {
    "voc": Format(write_voc, has_instances=True, contiguous_ids=False),
    "coco": Format(write_coco, read_coco, has_instances=True),
    "yolo": Format(write_yolo, has_instances=True),
    "yolo-detect": Format(write_yolo_boxes, has_instances=True),
    "cityscapes": Format(write_cityscapes, has_instances=True),
    "hf": Format(write_hub, contiguous_ids=True),
    "webdataset": Format(write_webdataset, contiguous_ids=True),
    "png": Format(write_plain, read_plain, partial(write_plain, grey=True), contiguous_ids=False),
    "cvat": Format(write_cvat, read_cvat, has_instances=True, has_splits=False),
    "label-studio": Format(
        write_label_studio, read_label_studio, has_instances=True, has_splits=False
    ),
}


def find_format(name: str) -> Format:
    """Return a format. Raises InputError for an unknown one."""
    if name not in FORMATS:
        raise InputError(f"expected the format {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]


def reader(name: str) -> Read:
    """Return the function that reads corrected masks. Raises InputError for an unknown format."""
    readers = {known: one.read for known, one in FORMATS.items() if one.read is not None}
    if name not in readers:
        raise InputError(f"expected the format {', '.join(readers)}, got {name!r}")
    return readers[name]
