"""The image and the class map of an item, read back from its files."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from diffumask.errors import InputError
from diffumask.files.inside import read_inside
from diffumask.files.pictures import PNG, opened
from diffumask.types import ClassMap, Example, Image

from .names import IMAGE, MASK, file_paths
from .pair import Pair, labels_of
from .record import Record

ADVICE = "see what diffumask verify says"


def read_example(folder: Path, record: Record) -> Example:
    """Read the item of a record back. Raises InputError as `read_pair`."""
    pair = read_pair(folder, record)
    return Example(record.prompt, record.seed, pair.image, pair.class_map, record.scores)


def read_pair(folder: Path, record: Record, labels: Collection[int] | None = None) -> Pair:
    """Read the image (h w 3, uint8) and the class map (h w, uint8) of a record.

    `labels` are those that the class map may have; without them it may have any. Raises InputError
    for a missing or damaged file, an image that is not RGB, a mask that is not one 8-bit index a
    pixel of it, and other labels.
    """
    image, class_map = read_image(folder, record), read_class_map(folder, record)
    if class_map.shape != image.shape[:2]:
        raise _not_a_label_a_pixel(folder, record, class_map, f", {_kind(image)}")
    unknown = [] if labels is None else sorted(set(labels_of(class_map)) - set(labels))
    if unknown:
        known = ", ".join(map(str, sorted(labels or ())))
        path = folder / file_paths(record.name)[MASK]
        raise InputError(f"expected labels {known} in {path}, got {unknown[0]}; {ADVICE}")
    return Pair(image, class_map)


def read_image(folder: Path, record: Record) -> Image:
    """Read the image of a record. Raises InputError for a damaged file, and one that is not RGB."""
    image = _pixels(folder, file_paths(record.name)[IMAGE])
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        path = folder / file_paths(record.name)[IMAGE]
        raise InputError(f"expected an RGB image in {path}, got {_kind(image)}; {ADVICE}")
    return image


def read_class_map(folder: Path, record: Record) -> ClassMap:
    """Read the class map of a record, whatever its labels and its image; raises as `read_pair`."""
    class_map = _pixels(folder, file_paths(record.name)[MASK])
    if class_map.dtype != np.uint8 or class_map.ndim != 2:
        raise _not_a_label_a_pixel(folder, record, class_map)
    return class_map


def _not_a_label_a_pixel(
    folder: Path, record: Record, pixels: np.ndarray, image: str = ""
) -> InputError:
    path = folder / file_paths(record.name)[MASK]
    return InputError(
        f"expected in {path} one 8-bit label a pixel of the image{image}, got {_kind(pixels)}; "
        f"{ADVICE}"
    )


def _pixels(folder: Path, name: str) -> np.ndarray:
    """Read a file as it is: what it has to be is yet to be checked."""
    path = folder / name
    try:
        content = read_inside(folder, name)
    except OSError as error:
        raise InputError(
            f"expected a whole PNG file, got {path}: {error.strerror}; {ADVICE}"
        ) from error
    with opened(content, PNG, ADVICE, name=str(path)) as picture:
        return np.array(picture)


def _kind(array: np.ndarray) -> str:
    return f"{' x '.join(map(str, array.shape))} of {array.dtype}"
