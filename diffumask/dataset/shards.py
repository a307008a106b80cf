"""A run cut into parts that are made apart, on whatever machines."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from diffumask.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part number `index`, from 1, of `count`."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InputError(
                f"expected a shard from 1/{self.count} to {self.count}/{self.count}, got {self}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Iterable[T], batch_size: int) -> Iterator[T]:
        """Pick the items of every `count`-th batch, so that batches are those of the whole run."""
        for position, item in enumerate(items):
            if position // batch_size % self.count == self.index - 1:
                yield item


WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """Read "i/k", i from 1 to k. Raises InputError for anything else."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not match or int(match[2]) < 1:
        raise InputError(f"expected a shard i/k, such as 2/8, got {text!r}")
    return Shard(int(match[1]), int(match[2]))
