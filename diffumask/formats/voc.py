"""PASCAL VOC: JPEGImages, SegmentationClass and lists of names.

Readers ask for `.jpg`, so images are written anew as JPEG of quality 95 without subsampling of
colour. SegmentationObject is always there: without it readers take the background for an object.
With instances the boxes of Annotations and the lists of ImageSets/Main, for detection, are too.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

from PIL import Image as PillowImage

from diffumask.dataset.encode import encode_class_map
from diffumask.labelled.names import LABELMAP_FILE
from diffumask.types import Mask

from .instances import box_of, instance_map
from .items import SPLITS, ExportItem, Selection
from .labelmap import write_labelmap

JPEG_QUALITY = 95
TRAINVAL = "trainval"


def write_voc(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write a dataset as VOC; ids are the indices, 0 background and 255 void."""
    labelmap = write_labelmap(selection.class_ids)
    tasks = ("Segmentation", "Main") if instances else ("Segmentation",)
    lists = [folder / "ImageSets" / task for task in tasks]
    images, masks = folder / "JPEGImages", folder / "SegmentationClass"
    objects, annotations = folder / "SegmentationObject", folder / "Annotations"
    for path in (*lists, images, masks, objects, *((annotations,) if instances else ())):
        path.mkdir(parents=True)
    (folder / LABELMAP_FILE).write_text(labelmap, "utf-8")
    names: dict[str, list[str]] = {split: [] for split in (*SPLITS, TRAINVAL)}
    id_names = {class_id: name for name, class_id in selection.class_ids.items()}
    for item in selection.items():
        names[item.split].append(item.name)
        names[TRAINVAL].append(item.name)
        jpeg = PillowImage.fromarray(item.pair.image)
        jpeg.save(images / f"{item.name}.jpg", "JPEG", quality=JPEG_QUALITY, subsampling=0)
        (masks / f"{item.name}.png").write_bytes(encode_class_map(item.pair.class_map))
        numbers, class_ids = instance_map(item.pair.class_map, instances)
        (objects / f"{item.name}.png").write_bytes(encode_class_map(numbers))
        if instances:
            boxes = [
                (id_names[class_id], _box(numbers == number))
                for number, class_id in enumerate(class_ids, 1)
            ]
            (annotations / f"{item.name}.xml").write_bytes(_annotation(item, boxes))
    for split, of_split in names.items():
        listed = "".join(f"{name}\n" for name in sorted(of_split))
        for of_task in lists:
            (of_task / f"{split}.txt").write_text(listed, "utf-8")
    return []


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Return xmin, ymin, xmax, ymax, the first pixel being 1 and the last one included."""
    left, top, right, bottom = box_of(mask)
    return left + 1, top + 1, right, bottom


def _annotation(item: ExportItem, boxes: list[tuple[str, tuple[int, int, int, int]]]) -> bytes:
    root = ET.Element("annotation")
    height, width = item.pair.class_map.shape
    ET.SubElement(root, "folder").text = "VOC"
    ET.SubElement(root, "filename").text = f"{item.name}.jpg"
    size = ET.SubElement(root, "size")
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, key).text = str(value)
    ET.SubElement(root, "segmented").text = "1"
    for name, box in boxes:
        shown = ET.SubElement(root, "object")
        fields = {"name": name, "pose": "Unspecified", "truncated": "0", "difficult": "0"}
        for key, value in fields.items():
            ET.SubElement(shown, key).text = value
        corners = ET.SubElement(shown, "bndbox")
        for key, place in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ET.SubElement(corners, key).text = str(place)
    return ET.tostring(root, "utf-8")
