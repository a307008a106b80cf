"""COCO annotations of whatever tool: images, labels, and regions as RLE or polygons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from diffumask.errors import InputError
from diffumask.types import Mask

from .shapes import decode_counts, draw_columns, draw_polygons


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image by its file name, with the regions that lie on it: category and segmentation."""

    file_name: str
    size_hw: tuple[int, int]
    regions: Sequence[tuple[int, Any]]

    @property
    def name(self) -> str:
        """The file name without its folders and its ending."""
        return PurePosixPath(self.file_name.replace("\\", "/")).stem


@dataclass(frozen=True, slots=True)
class Coco:
    """The content of a file: the name of each category, and the images in their order."""

    names: Mapping[int, str]
    images: Sequence[CocoImage]


def parse_coco(content: Any, where: str) -> Coco:
    """Take the parts of a COCO file; no region is drawn yet. Raises InputError for another."""
    try:
        names = {_number(one["id"]): str(one["name"]) for one in content["categories"]}
        regions: dict[Any, list[tuple[int, Any]]] = {}
        for one in content["annotations"]:
            region = _number(one["category_id"]), one.get("segmentation")
            regions.setdefault(one["image_id"], []).append(region)
            if region[0] not in names:
                raise InputError(f"expected the category {region[0]} in {where}, got none; add it")
        images = [
            CocoImage(
                str(one["file_name"]),
                (_number(one["height"]), _number(one["width"])),
                regions.get(one["id"], ()),
            )
            for one in content["images"]
        ]
        astray = regions.keys() - {one["id"] for one in content["images"]}
        if astray:
            raise InputError(
                f"expected annotations of the images in {where}, got one of {min(map(str, astray))}"
            )
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(
            f"expected COCO instances in {where} (images, annotations, categories), got something "
            f"else ({error!r}); export COCO with masks or polygons"
        ) from error
    return Coco(names, images)


def draw_segmentation(segmentation: Any, size_hw: tuple[int, int]) -> Mask | None:
    """Draw what an annotation has as `segmentation`, None for an annotation that is a box alone.

    Raises InputError for a broken shape, and for RLE of another size.
    """
    if segmentation is None or segmentation == []:
        return None
    try:
        if not isinstance(segmentation, dict):
            return draw_polygons(segmentation, size_hw)
        counts, size = segmentation["counts"], segmentation["size"]
        if list(size) != list(size_hw):
            raise InputError(f"expected RLE of the size {list(size_hw)}, got {size}")
        return draw_columns(decode_counts(counts) if isinstance(counts, str) else counts, size_hw)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"expected RLE or polygons, got something else ({error!r})") from error


def _number(value: Any) -> int:
    if type(value) not in (int, float) or value != int(value):
        raise TypeError(f"no whole number: {value!r}")
    return int(value)
