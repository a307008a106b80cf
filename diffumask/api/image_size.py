"""The size of an image as people write it."""

import re

from diffumask.errors import InputError


def read_size(size: str | None) -> tuple[int, int] | None:
    """Read a height and a width in pixels; raises InputError for anything but two numbers."""
    if size is None:
        return None
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", size)
    if not match:
        raise InputError(
            f"expected a size as HEIGHTxWIDTH in pixels, such as 384x512, got {size!r}"
        )
    return int(match[1]), int(match[2])
