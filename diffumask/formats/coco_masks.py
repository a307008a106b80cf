"""Class maps from COCO annotations of whatever tool: RLE, compressed or not, and polygons."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from diffumask.errors import InputError
from diffumask.formats import extra
from diffumask.formats.archive import Archive
from diffumask.formats.corrected import Originals
from diffumask.types import BACKGROUND_ID, ClassMap, Mask

MAX_SHIFT = 60  # of a number in compressed RLE


def read_coco(archive: Archive, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    """Yield the class map of each image of the JSON files, whose annotations lie in their order.

    An image without annotations is all background. A category "ignore" stands for 255. Raises
    InputError for another structure, other images, unknown categories, and broken shapes.
    """
    found = [name for name in archive.files if name.endswith(".json")]
    if not found:
        raise InputError(f"expected COCO annotations (.json) in {archive.path}, got none")
    for path in sorted(found):
        try:
            yield from _read(archive.json(path), originals)
        except InputError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise InputError(
                f"expected COCO annotations in {path}, got something else ({error!r})"
            ) from error


def decode_counts(text: str) -> list[int]:
    """Decode the counts of compressed RLE.

    Five bits of a number a character, lowest first, with a bit that says that more follow; from
    the fourth on a number is the difference to the one two before (cocoapi, maskApi.c).
    """
    counts: list[int] = []
    number = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > MAX_SHIFT:
            raise ValueError(f"no RLE: {text[:20]!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            number -= 1 << shift if bits & 16 else 0
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    return counts


def mask_of_counts(counts: Any, size_hw: tuple[int, int]) -> Mask:
    """Draw run lengths, column by column. Raises InputError for those of another area."""
    height, width = size_hw
    runs = np.asarray(counts, np.int64)
    area_px = height * width
    inside = runs.ndim == 1 and ((runs >= 0) & (runs <= area_px)).all()
    if not inside or runs.sum() != area_px:
        raise InputError(f"expected RLE of {height}x{width} pixels, got another area")
    filled = np.arange(len(runs)) % 2 == 1
    return np.repeat(filled, runs).reshape(width, height).T


def _read(content: Any, originals: Originals) -> Iterator[tuple[str, ClassMap]]:
    labels = {one["id"]: one["name"] for one in content["categories"]}
    shapes: dict[Any, list[Any]] = {}
    for one in content["annotations"]:
        shapes.setdefault(one["image_id"], []).append(one)
    for image in content["images"]:
        name = originals.item_of(image["file_name"])
        size_hw = originals.size_hw(name)
        class_map = np.full(size_hw, BACKGROUND_ID, np.uint8)
        for one in shapes.get(image["id"], []):
            value = originals.known_value(labels[one["category_id"]])
            class_map[_mask(one["segmentation"], size_hw)] = value
        yield name, class_map


def _mask(segmentation: Any, size_hw: tuple[int, int]) -> Mask:
    if not isinstance(segmentation, dict):
        return _polygons(segmentation, size_hw)
    counts = segmentation["counts"]
    if list(segmentation["size"]) != list(size_hw):
        raise InputError(f"expected shapes of the size {size_hw}, got {segmentation['size']}")
    return mask_of_counts(decode_counts(counts) if isinstance(counts, str) else counts, size_hw)


def _polygons(segmentation: Any, size_hw: tuple[int, int]) -> Mask:
    """Draw polygons as pycocotools does; what lies outside of the image is moved to its edge."""
    height, width = size_hw
    drawn = np.zeros(size_hw, bool)
    for outline in segmentation:
        points = np.array(outline, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all():
            raise InputError("expected polygons of three finite points or more, got another")
        inside = points.clip(0, [width, height]).ravel().tolist()
        (rle,) = extra.load("pycocotools.mask").frPyObjects([inside], height, width)
        drawn |= mask_of_counts(decode_counts(rle["counts"].decode()), size_hw)
    return drawn
