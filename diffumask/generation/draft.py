"""A batch in the making: items that come out without a mask are drawn again with the next seed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from diffumask.dataset.record import Record
from diffumask.dataset.writer import Store

from .plan import Item

T = TypeVar("T")


@dataclass(slots=True)
class Draft(Generic[T]):
    """The items of a batch and the best that was made of each, until none is drawn again.

    A batch is drawn again by itself and written whole, so that what is in it, and with it the
    rounding of its images, follows from the plan alone, whatever was stopped or made elsewhere.
    """

    wanted: Sequence[Item]
    redraws_left: int
    _best: dict[str, tuple[Record, T]] = field(default_factory=dict)

    @property
    def made(self) -> list[T]:
        """What was made of each item, in the order of the batch."""
        return [made for _, made in self._best.values()]

    def add(self, records: Sequence[Record], made: Sequence[T]) -> None:
        """Take what was made of the wanted items; wanted then are those to be drawn again.

        The best of several attempts is the first of those whose masks lack the fewest classes.
        """
        for record, one in zip(records, made, strict=True):
            best, _ = self._best.get(record.name, (None, None))
            if best is None or len(record.absent) < len(best.absent):
                self._best[record.name] = record, one
        lacking = [item for item in self.wanted if self._best[item.name][0].absent]
        self.wanted = [item.again() for item in lacking] if self.redraws_left else []
        self.redraws_left -= 1


def drafts(
    items: Iterable[Item], store: Store, batch_size: int, redraw: int
) -> Iterator[Draft[Any]]:
    """Cut the items that the folder lacks into batches."""
    missing = (item for item in items if item.name not in store.records)
    while batch := list(islice(missing, batch_size)):
        yield Draft(batch, redraw)
