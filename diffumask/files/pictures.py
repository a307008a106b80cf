"""The one place where image files are opened, and by which of Pillow's readers.

Pillow goes by what is in a file, not by its name, and knows formats whose readers start other
programs (EPS starts Ghostscript) or few have looked at. Those listed here alone are tried.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image as PillowImage

from diffumask.errors import InputError

PNG = ("PNG",)  # what datasets of ours hold
PHOTOGRAPHS = ("JPEG", "PNG", "WEBP", "BMP")  # what images of others come as
BROKEN = (OSError, SyntaxError, ValueError, EOFError, PillowImage.DecompressionBombError)


@contextmanager
def opened(
    file: Path | bytes,
    formats: tuple[str, ...],
    advice: str = "replace it or take it out",
    name: str | None = None,
) -> Iterator[PillowImage.Image]:
    """Open an image file, or the content of one, whose name in messages may be another.

    Raises InputError, which ends with the advice, for what is missing or damaged, of another
    format or of more pixels than Pillow's limit, also while the block reads it.
    """
    source = file if isinstance(file, Path) else io.BytesIO(file)
    shown = name or (file if isinstance(file, Path) else "content")
    try:
        with PillowImage.open(source, formats=formats) as picture:
            yield picture
    except InputError:
        raise
    except BROKEN as error:
        unknown = isinstance(error, PillowImage.UnidentifiedImageError)
        reason = "another format, or damaged" if unknown else " ".join(str(error).split())
        what = getattr(error, "strerror", None) or reason
        kind = "PNG" if formats == PNG else "image"
        raise InputError(f"expected a whole {kind} file, got {shown}: {what}; {advice}") from error
