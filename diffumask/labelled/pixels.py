"""Read the two files of a labelled image, and say in one line what is wrong with one."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from diffumask.errors import InputError
from diffumask.files.pictures import PHOTOGRAPHS, opened
from diffumask.types import Image

INDEX_MODES = ("P", "L", "1")  # a value a pixel, of at most 8 bits


def read_image(path: Path, content: bytes | None = None) -> Image:
    """Read a JPEG, PNG, WebP or BMP as RGB; `content` is that of the file, if it was read already.

    Raises InputError for a missing or damaged file.
    """
    with _opened(path, content) as picture:
        return np.array(picture.convert("RGB"))


def read_indices(path: Path, content: bytes | None = None) -> UInt8[np.ndarray, "h w"]:
    """Read the indices of a palette PNG, or the values of a grey one of at most 8 bits.

    Raises InputError for a missing or damaged file, another format and for colours.
    """
    with _opened(path, content) as picture:
        if picture.format == "PNG" and picture.mode in INDEX_MODES:
            return np.array(picture, np.uint8)
        kind = f"{picture.format} of mode {picture.mode}"
    raise InputError(
        f"expected a mask as PNG with a class id a pixel (palette or 8-bit grey), got {path}, a "
        f"{kind}; save class ids, not colours"
    )


def size_hw(path: Path, content: bytes | None = None) -> tuple[int, int]:
    """Return the size of an image from its head. Raises InputError as `read_image` does."""
    with _opened(path, content) as picture:
        return picture.height, picture.width


def _opened(path: Path, content: bytes | None) -> AbstractContextManager[PillowImage.Image]:
    return opened(path if content is None else content, PHOTOGRAPHS, name=str(path))
