"""A folder of labelled images, read one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from diffumask.dataset.pair import Pair
from diffumask.errors import InputError
from diffumask.types import ClassMap

from .layouts import LAYOUTS, named_folders
from .listing import Listing
from .mapping import ClassSelection, LabelMapping, decode, make_mapping
from .pairs import PairFiles

AUTO, FOLDERS = "auto", "folders"  # by their structure, and as the user names them


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labelled images of a folder; each is read when it is asked for, so that any number fits.

    Files are checked as they are read: InputError for masks of another size than the image, in
    colours, with labels that stand for nothing, and for damaged files. `named_by` is the file that
    the names of classes are of, or the layout, or empty where they are numbers.
    """

    folder: Path
    layout: str
    split: str | None
    pairs: tuple[PairFiles, ...]
    mapping: LabelMapping
    named_by: str = ""

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "Labelled": ...
    def __getitem__(self, index: int | slice) -> "Pair | Labelled":
        if isinstance(index, slice):
            return replace(self, pairs=self.pairs[index])
        pair = self.pairs[index]
        return Pair(pair.read_image(), self.class_map(index), pair.name)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def as_objects(self) -> "Labelled":
        """Take all classes for one, "object". Raises InputError without a background."""
        return replace(self, mapping=self.mapping.as_objects())

    def class_map(self, index: int) -> ClassMap:
        """Read the class map alone; of the image only the size is read."""
        pair = self.pairs[index]
        return decode(pair.read_values(), self.mapping.truth, pair.place)


def open_labelled(
    folder: Path,
    layout: str = AUTO,
    split: str | None = None,
    selection: ClassSelection | None = None,
    masks: Path | None = None,
) -> Labelled:
    """Find the images with a mask in a folder; none is read yet.

    `layout` is one of `LAYOUTS`, "auto" the first whose structure the folder has; without a
    `split` those of all are taken. With `masks`, a folder of PNG or a COCO file, `folder` has the
    images, and both may have whatever names. Class ids are those of `selection.classes`, else the
    data's own. Raises InputError for another structure, an unknown split, a mask without its
    image, two masks of one name, and for a folder without masks.
    """
    if masks is None:
        name = find_layout(folder, layout)
        listing = LAYOUTS[name].find(folder, split)
    else:
        name, listing = FOLDERS, named_folders(folder, masks, split)
    _check(masks or folder, listing)
    mapping = make_mapping(listing.values, selection or ClassSelection())
    named_by = listing.values.named_by or ("" if listing.values.names is None else f"layout {name}")
    return Labelled(folder, name, split, tuple(listing.pairs), mapping, named_by)


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


def _check(folder: Path, listing: Listing) -> None:
    if not listing.pairs:
        raise InputError(f"expected masks as PNG in {folder}, got none")
    places: dict[str, Path] = {}
    for pair in listing.pairs:
        if pair.name in places:
            raise InputError(
                f"expected one mask of a name, got {places[pair.name]} and {pair.place} for "
                f"{pair.name}; choose a split"
            )
        places[pair.name] = pair.place
