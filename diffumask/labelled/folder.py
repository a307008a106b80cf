"""A folder of labelled images, read one by one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.labelled.coding import Coding, Wish, decode, make_coding
from diffumask.labelled.layouts import LAYOUTS, FilePair, Found
from diffumask.labelled.pixels import read_image, read_indices, size_hw
from diffumask.types import ClassMap, Image

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with the class id of each pixel; 0 is background where there is one, 255 nothing."""

    name: str
    image: Image
    class_map: ClassMap


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labelled images of a folder; each is read when it is asked for, so that any number fits.

    Files are checked as they are read: InputError for masks of another size than the image, in
    colours, with labels that stand for nothing, and for damaged files.
    """

    folder: Path
    layout: str
    split: str | None
    pairs: tuple[FilePair, ...]
    coding: Coding

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> "Labelled": ...
    def __getitem__(self, index: int | slice) -> "LabelledImage | Labelled":
        if isinstance(index, slice):
            return Labelled(self.folder, self.layout, self.split, self.pairs[index], self.coding)
        pair = self.pairs[index]
        return LabelledImage(pair.name, read_image(pair.image), self.class_map(index))

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self[index] for index in range(len(self)))

    def class_map(self, index: int) -> ClassMap:
        """Read the class map alone; of the image only the size is read."""
        pair = self.pairs[index]
        return decode(read_mask(pair.mask, size_hw(pair.image)), self.coding.truth, pair.mask)


def open_labelled(
    folder: Path, layout: str = AUTO, split: str | None = None, wish: Wish | None = None
) -> Labelled:
    """Find the images with a mask in a folder; none is read yet.

    `layout` is one of `LAYOUTS`, "auto" the first whose structure the folder has; without a
    `split` those of all are taken. Class ids are those of `wish.classes`, else the data's own.
    Raises InputError for another structure, an unknown split, a mask without its image, two masks
    of one name, and for a folder without masks.
    """
    name = find_layout(folder, layout)
    found = LAYOUTS[name].find(folder, split)
    _check(folder, found)
    coding = make_coding(found.values, wish or Wish())
    return Labelled(folder, name, split, tuple(found.pairs), coding)


def find_layout(folder: Path, layout: str = AUTO) -> str:
    """Return the name of the layout that a folder has. Raises InputError for any other."""
    if not folder.is_dir():
        raise InputError(f"expected a folder of labelled images, got {str(folder)!r}")
    if layout != AUTO and layout not in LAYOUTS:
        raise InputError(f"expected the layout auto or one of {', '.join(LAYOUTS)}, got {layout!r}")
    for name in LAYOUTS if layout == AUTO else [layout]:
        if LAYOUTS[name].fits(folder):
            return name
    wanted = [f"{name} ({LAYOUTS[name].structure})" for name in LAYOUTS if layout in (AUTO, name)]
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise InputError(f"expected the layout {' or '.join(wanted)}, got {folder} with {there}")


def read_mask(path: Path, expected_hw: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Read the values of a mask. Raises InputError for a size that is not the expected one."""
    raw = read_indices(path)
    if raw.shape != expected_hw:
        (height, width), (mask_height, mask_width) = expected_hw, raw.shape
        raise InputError(
            f"expected a mask of {height}x{width} pixels (height x width) as its image, got "
            f"{path} of {mask_height}x{mask_width}"
        )
    return raw


def _check(folder: Path, found: Found) -> None:
    if not found.pairs:
        raise InputError(f"expected masks as PNG in {folder}, got none")
    masks: dict[str, Path] = {}
    for pair in found.pairs:
        if pair.name in masks:
            raise InputError(
                f"expected one mask of a name, got {masks[pair.name]} and {pair.mask}; choose a "
                "split"
            )
        masks[pair.name] = pair.mask
