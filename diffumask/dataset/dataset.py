"""A dataset folder as a sequence of its items, whose files are read when asked for."""

import hashlib
import operator
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar, overload

from diffumask.articles import counted
from diffumask.draw import evenly
from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID

from .decode import read_pair
from .item import Item
from .listing import whole_records
from .pair import Pair, SizeHW
from .preview import NOTEBOOK_ITEMS, NOTEBOOK_SIDE_PX, cell_html, sheet_png, table_html
from .record import Record
from .run import Run, read_run

CACHE_BYTES = 256 * 2**20


D = TypeVar("D", bound="Dataset")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Sequence[Item]):
    """The items of a dataset folder, in the order of their names, as they were when it was opened.

    `dataset[3]` is an item, `dataset[-1]` the last one, `dataset[:5]` a dataset of five, which is
    a part of the folder. Files are read when asked for; the pixels that were read are kept, 256
    MiB of them at most. It can be sent to other processes, which read for themselves.
    """

    folder: Path
    run: Run
    records: Sequence[Record]
    is_part: bool = False

    @classmethod
    def open(cls: type[D], folder: Path | str, with_dropped: bool = False) -> D:
        """Open a folder: run.json and the lines of items are read, and no picture.

        Items that `diffumask filter` dropped are left out, unless asked for. Raises InputError
        for a folder that is no dataset, and for a file that was cut short.
        """
        folder = Path(folder)
        run, found = read_run(folder), whole_records(folder)
        records = [record for record in found if with_dropped or not record.is_dropped]
        return cls(folder, run, sorted(records, key=lambda record: record.name))

    def require_items(self: D) -> D:
        """Return the dataset once its first item was read, for those that make something of it.

        Raises InputError where there is no item, and for a bad first one.
        """
        if not self.records:
            all_are_dropped = not self.is_part and bool(whole_records(self.folder))
            raise InputError(
                f"expected items in {self.folder} that are not dropped, got none; filter it less "
                "strictly"
                if all_are_dropped
                else f"expected items in {self.folder}, got none; generate some first"
            )
        self.read(0)
        return self

    @property
    def classes(self) -> Mapping[str, int]:
        """The id of each class by its name."""
        return self.run.classes

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the items depend on: `settings` of run.json."""
        return self.run.settings

    @property
    def size_hw(self) -> SizeHW:
        """Height and width of the first item, in pixels; IndexError where there is none."""
        return self.read(0).size_hw

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Item: ...
    @overload
    def __getitem__(self: D, index: slice) -> D: ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Item | Dataset":
        if isinstance(index, slice):
            return replace(self, records=self.records[index], is_part=True)
        position = range(len(self))[operator.index(index)]
        return Item(self.records[position], self.folder, partial(self.read, position), self.classes)

    def read(self, position: int) -> Pair:
        """Read the image and the class map of an item, which are kept; raises as `Item` does."""
        return self._cached(position)

    def decode(self, position: int) -> Pair:
        """Read an item from its files, kept or not; raises as `read`."""
        labels = {BACKGROUND_ID, IGNORE_ID, *self.run.classes.values()}
        pair = read_pair(self.folder, self.records[position], labels)
        for array in (pair.image, pair.class_map):
            array.flags.writeable = False
        return pair

    def check(self) -> None:
        """Read every item once, so that a bad one is refused before anything is made from it."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.decode, range(len(self))))

    def digest(self) -> str:
        """Hash the names of the items, on whose order every augmented item depends."""
        names = "\n".join(record.name for record in self.records)
        return hashlib.blake2b(names.encode(), digest_size=8).hexdigest()

    @cached_property
    def _cached(self) -> Callable[[int], Pair]:
        first = self.decode(0)
        pair_bytes = first.image.nbytes + first.class_map.nbytes
        return lru_cache(max(1, CACHE_BYTES // pair_bytes))(self.decode)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, each.name) for each in fields(self))

    def __repr__(self) -> str:
        classes = ", ".join(self.classes) or "no class"
        items = counted(len(self), "item")
        return f"{type(self).__name__}({str(self.folder)!r}: {items} of {classes})"

    def _repr_html_(self) -> str:
        cells = [cell_html(item.record, item.pair_of, self.classes) for item in self._dozen()]
        return table_html(cells, repr(self))

    def _repr_png_(self) -> bytes | None:
        return sheet_png((item.pair_of for item in self._dozen()), self.classes, NOTEBOOK_SIDE_PX)

    def _dozen(self) -> list[Item]:
        return [self[at] for at in evenly(len(self), NOTEBOOK_ITEMS)]
