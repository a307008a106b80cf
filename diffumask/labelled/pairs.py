"""An image and its mask, each read when it is asked for: from files, COCO regions or parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, ClassMap, Image

from .coco import draw_segmentation
from .parquet import read_cell
from .pixels import read_image, read_indices, size_hw


@runtime_checkable
class LabelledPair(Protocol):
    """An image and its mask; `place` is where the mask is, for errors."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> Path: ...
    @property
    def names(self) -> Sequence[str]:
        """The names that a prediction may have, the best first."""
        ...

    def size_hw(self) -> tuple[int, int]:
        """Return the size of the image, which is not decoded."""
        ...

    def read_image(self) -> Image: ...

    def read_values(self) -> UInt8[np.ndarray, "h w"]:
        """Read the values of the mask. Raises InputError unless it has the size of the image."""
        ...


@dataclass(frozen=True, slots=True)
class FilePair:
    """An image file and the PNG of its mask; names differ within a dataset."""

    name: str
    image: Path
    mask: Path

    @property
    def place(self) -> Path:
        return self.mask

    @property
    def names(self) -> Sequence[str]:
        return self.name, self.mask.stem, self.image.stem

    def size_hw(self) -> tuple[int, int]:
        return size_hw(self.image)

    def read_image(self) -> Image:
        return read_image(self.image)

    def read_values(self) -> UInt8[np.ndarray, "h w"]:
        return read_mask(self.mask, self.size_hw())


@dataclass(frozen=True, slots=True)
class CocoPair:
    """An image file and the regions on it, in their order: the value and the segmentation."""

    name: str
    image: Path
    place: Path
    drawn_hw: tuple[int, int]
    regions: Sequence[tuple[int, Any]]

    @property
    def names(self) -> Sequence[str]:
        return (self.name,)

    def size_hw(self) -> tuple[int, int]:
        return size_hw(self.image)

    def read_image(self) -> Image:
        return read_image(self.image)

    def read_values(self) -> UInt8[np.ndarray, "h w"]:
        _check_size(self.place, f"regions of {self.image.name}", self.drawn_hw, self.size_hw())
        values: ClassMap = np.full(self.drawn_hw, BACKGROUND_ID, np.uint8)
        for value, segmentation in self.regions:
            mask = draw_segmentation(segmentation, self.drawn_hw)
            if mask is None:
                raise InputError(
                    f"expected a mask or polygon for each annotation of {self.image.name} in "
                    f"{self.place}, got a box alone; draw it or take the image out"
                )
            values[mask] = value
        return values


@dataclass(frozen=True, slots=True)
class ParquetPair:
    """A row of a parquet file with the columns image and mask, both PNG or JPEG in bytes."""

    name: str
    place: Path
    group: int
    row: int

    @property
    def names(self) -> Sequence[str]:
        return (self.name,)

    def size_hw(self) -> tuple[int, int]:
        return size_hw(self.place, self._content("image"))

    def read_image(self) -> Image:
        return read_image(self.place, self._content("image"))

    def read_values(self) -> UInt8[np.ndarray, "h w"]:
        values = read_indices(self.place, self._content("mask"))
        _check_size(self.place, f"the mask of {self.name}", values.shape, self.size_hw())
        return values

    def _content(self, column: str) -> bytes:
        return read_cell(self.place, self.group, column, self.row)


def read_mask(path: Path, expected_hw: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Read the values of a mask. Raises InputError for a size that is not the expected one."""
    raw = read_indices(path)
    _check_size(path, "a mask", raw.shape, expected_hw)
    return raw


def _check_size(
    path: Path, what: str, got_hw: tuple[int, ...], expected_hw: tuple[int, int]
) -> None:
    if tuple(got_hw) != expected_hw:
        (height, width), (got_height, got_width) = expected_hw, got_hw
        raise InputError(
            f"expected {what} of {height}x{width} pixels (height x width) as its image, got "
            f"{path} of {got_height}x{got_width}"
        )
