"""The image and the class map of an item, read back from its files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.files.inside import read_inside
from diffumask.files.pictures import PNG, opened
from diffumask.types import Example, Image

from .names import IMAGE, MASK, file_paths
from .record import Record

ADVICE = "see what diffumask verify says"


def read_example(folder: Path, record: Record) -> Example:
    """Read the item of a record back.

    Raises InputError for a file that is damaged, an image that is not RGB and a mask that is not
    one label a pixel of it.
    """
    image, path = read_image(folder, record), file_paths(record.name)[MASK]
    class_map = _pixels(folder, path, "P", "L")
    if class_map.shape != image.shape[:2]:
        raise InputError(
            f"expected the size of the image, {image.shape[:2]}, in {folder / path}, got "
            f"{class_map.shape}; {ADVICE}"
        )
    return Example(record.prompt, record.seed, image, class_map, record.scores)


def read_image(folder: Path, record: Record) -> Image:
    """Read the image of an item. Raises InputError for a damaged file, and one that is not RGB."""
    return _pixels(folder, file_paths(record.name)[IMAGE], "RGB")


def _pixels(folder: Path, name: str, *modes: str) -> UInt8[np.ndarray, "h w *channels"]:
    path = folder / name
    try:
        content = read_inside(folder, name)
    except OSError as error:
        raise InputError(
            f"expected a whole PNG file, got {path}: {error.strerror}; {ADVICE}"
        ) from error
    with opened(content, PNG, ADVICE, name=str(path)) as picture:
        if picture.mode not in modes:
            raise InputError(
                f"expected a PNG of {' or '.join(modes)}, got {path} of {picture.mode}; {ADVICE}"
            )
        return np.array(picture)
