"""Corrected masks from COCO annotations of whatever tool."""

from collections.abc import Iterator

from diffumask.errors import InputError
from diffumask.labelled.coco import Coco, CocoImage, draw_segmentation, parse_coco
from diffumask.types import ClassMap

from .archive import Archive
from .corrected import Originals, Region


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
