"""What a layout finds in a folder, and what it says about what is not there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffumask.errors import InputError

from .mapping import MaskValues
from .pairs import LabelledPair


@dataclass(frozen=True, slots=True)
class Listing:
    """The images with masks that a layout found, and what the values of the masks stand for."""

    pairs: Sequence[LabelledPair]
    values: MaskValues


def unknown_split(folder: Path, split: str, known: Sequence[str]) -> InputError:
    """Make the error for a split that a folder does not have."""
    return InputError(
        f"expected a split of {folder} ({', '.join(known) or 'it has none'}), got {split!r}"
    )


def existing(image: Path, mask: Path) -> Path:
    """Return an image that is there. Raises InputError for one that is not."""
    if not image.is_file():
        raise InputError(f"expected an image for each mask, got {mask} without {image}")
    return image
