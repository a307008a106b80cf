"""Where an image and its mask lie: in files, COCO regions or parquet, read when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, ClassMap, Image

from .parquet import read_cell
from .pixels import read_image, read_indices, size_hw
from .shapes import draw_segmentation


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file, or a cell of a parquet file: its row group, column and row there."""

    path: Path
    cell: tuple[int, str, int] | None = None

    def content(self) -> bytes | None:
        """Read the bytes of a cell; None for a file, which is read by its path."""
        return None if self.cell is None else read_cell(self.path, *self.cell)


@dataclass(frozen=True, slots=True)
class CocoRegions:
    """The regions on an image in a COCO file, in their order: the value and the segmentation."""

    path: Path
    size_hw: tuple[int, int]
    regions: Sequence[tuple[int, Any]]

    def draw(self, image_name: str) -> ClassMap:
        """Draw the regions one over the other. Raises InputError for a box alone."""
        values: ClassMap = np.full(self.size_hw, BACKGROUND_ID, np.uint8)
        for value, segmentation in self.regions:
            mask = draw_segmentation(segmentation, self.size_hw)
            if mask is None:
                raise InputError(
                    f"expected a mask or polygon for each annotation of {image_name} in "
                    f"{self.path}, got a box alone; draw it or take the image out"
                )
            values[mask] = value
        return values


@dataclass(frozen=True, slots=True)
class PairFiles:
    """An image and its mask by the places where they lie."""

    name: str
    image: Picture
    mask: Picture | CocoRegions

    @property
    def place(self) -> Path:
        """The file that the mask is in."""
        return self.mask.path

    @property
    def names(self) -> Sequence[str]:
        """The names that a prediction may have, the best first."""
        if isinstance(self.mask, Picture) and self.mask.cell is None:
            return self.name, self.mask.path.stem, self.image.path.stem
        return (self.name,)

    def size_hw(self) -> tuple[int, int]:
        """Return the size of the image, which is not decoded."""
        return size_hw(self.image.path, self.image.content())

    def read_image(self) -> Image:
        """Read the image. Raises InputError for a damaged one."""
        return read_image(self.image.path, self.image.content())

    def read_values(self) -> UInt8[np.ndarray, "h w"]:
        """Read the values of the mask. Raises InputError unless it has the size of the image."""
        if isinstance(self.mask, CocoRegions):
            image_name = self.image.path.name
            _check_size(self.place, f"regions of {image_name}", self.mask.size_hw, self.size_hw())
            return self.mask.draw(image_name)
        values = read_indices(self.mask.path, self.mask.content())
        what = "a mask" if self.mask.cell is None else f"the mask of {self.name}"
        _check_size(self.place, what, values.shape, self.size_hw())
        return values


def file_pair(name: str, image: Path, mask: Path) -> PairFiles:
    """Pair an image file with the PNG of its mask; names differ within a dataset."""
    return PairFiles(name, Picture(image), Picture(mask))


def read_mask(path: Path, expected_hw: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Read the values of a mask. Raises InputError for a size that is not the expected one."""
    values = read_indices(path)
    _check_size(path, "a mask", values.shape, expected_hw)
    return values


def _check_size(
    path: Path, what: str, got_hw: tuple[int, ...], expected_hw: tuple[int, int]
) -> None:
    if tuple(got_hw) != expected_hw:
        (height, width), (got_height, got_width) = expected_hw, got_hw
        raise InputError(
            f"expected {what} of {height}x{width} pixels (height x width) as its image, got "
            f"{path} of {got_height}x{got_width}"
        )
