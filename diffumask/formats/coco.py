"""COCO: instances_{train,val}.json with compressed RLE, beside images/; masks of any tool back.

Category ids are the class ids, which may have gaps as those of COCO itself do. A mask of 255 has
no place in the format: such pixels belong to no annotation.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffumask import extra
from diffumask.errors import InputError
from diffumask.labelled.coco import Coco, CocoImage, parse_coco
from diffumask.labelled.shapes import draw_segmentation
from diffumask.types import ClassMap, Mask

from .archive import Archive
from .corrected import Originals, Region
from .items import SPLITS, Selection, masks_of

ANNOTATIONS = "annotations"


def write_coco(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write one annotation for each class of an image, or for each of its components."""
    rle = extra.load("pycocotools.mask")
    categories = [
        {"id": class_id, "name": name, "supercategory": ""}
        for name, class_id in selection.class_ids.items()
    ]
    for name in ("images", ANNOTATIONS):
        (folder / name).mkdir()
    image_id = annotation_id = 0
    for split in SPLITS:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for item in selection.items(split):
            image_id += 1
            height, width = item.pair.class_map.shape
            file_name = f"{item.name}.png"
            shutil.copyfile(item.image_file, folder / "images" / file_name)
            images.append(
                {"id": image_id, "file_name": file_name, "height": height, "width": width}
            )
            for class_id, mask in masks_of(item.pair.class_map, instances):
                annotation_id += 1
                of = {"id": annotation_id, "image_id": image_id, "category_id": class_id}
                annotations.append(of | _shape(rle, mask))
        content = {
            "info": {"description": "made by diffumask"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        path = folder / ANNOTATIONS / f"instances_{split}.json"
        path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    return []


def _shape(rle: Any, mask: Mask) -> dict[str, Any]:
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {
        "segmentation": {
            "size": [int(side) for side in encoded["size"]],
            "counts": encoded["counts"].decode("ascii"),
        },
        "area": int(rle.area(encoded)),
        "bbox": [float(place) for place in rle.toBbox(encoded)],
        "iscrowd": 0,
    }


def read_coco(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the class map of each image of the JSON files, whose annotations lie in their order.

    An image without annotations is all background, but for what was 255; one that has boxes alone
    is passed over. A category "ignore" stands for 255. Raises InputError for another structure,
    other images or sizes, unknown categories, and broken shapes.
    """
    found = archive.ending(".json")
    if not found:
        raise InputError(
            f"expected COCO annotations (.json) in {archive.path}, got none; export COCO with "
            'masks or polygons: "COCO 1.0" in CVAT, "COCO" in Label Studio, "COCO Segmentation" '
            "in Roboflow"
        )
    for path in found:
        coco = parse_coco(archive.json(path), path)
        knows_ignore = originals.knows_ignore(coco.names.values())
        for image in coco.images:
            name = originals.item_of(image.file_name)
            originals.check_size(name, image.size_hw)
            class_map = originals.draw(name, _regions(coco, image), knows_ignore)
            if class_map is not None:
                yield name, class_map


def _regions(coco: Coco, image: CocoImage) -> Iterator[Region]:
    for category, segmentation in image.regions:
        mask = draw_segmentation(segmentation, image.size_hw)
        yield Region(coco.names[category], mask, "boxes")
