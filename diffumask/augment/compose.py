"""The composition: which operations make an item, in what order, from which other items."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from diffumask.dataset.pair import Operation, Pair, SizeHW, resized
from diffumask.errors import InputError
from diffumask.seeds import item_seed

from .blur import blur
from .copy_paste import copy_paste
from .occlude import occlude
from .perspective import perspective
from .splice import splice

# In this order: what mixes images comes first, as the scene that the others then work on.
OPERATIONS: dict[str, Operation] = {
    "splice": splice,
    "copy_paste": copy_paste,
    "perspective": perspective,
    "blur": blur,
    "occlude": occlude,
}
LARGEST_SIDE_PX = 8192


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Shares of the items that have each operation, in [0, 1], and the size of all items.

    Splicing and copy-paste exclude each other, so their shares add up to 1 at most; the others
    are drawn for themselves. The shares are ours, as the paper's are not known. Without a size
    an item has that of its first source. Raises InputError for other numbers.
    """

    splice: float = 0.4
    copy_paste: float = 0.2
    perspective: float = 0.3
    blur: float = 0.3
    occlude: float = 0.3
    size_hw: SizeHW | None = None

    def __post_init__(self) -> None:
        for name, share in self.shares().items():
            if not 0 <= share <= 1:
                raise InputError(f"expected {name} in [0, 1], got {share}")
        if self.splice + self.copy_paste > 1:
            raise InputError(
                f"expected shares of splice and copy-paste that add up to 1 at most, got "
                f"{self.splice} and {self.copy_paste}; an item has one of them"
            )
        if self.size_hw and not all(0 < side <= LARGEST_SIDE_PX for side in self.size_hw):
            raise InputError(f"expected sides of 1 to {LARGEST_SIDE_PX} px, got {self.size_hw}")

    def shares(self) -> dict[str, float]:
        """Return the share of each operation by name."""
        return {name: getattr(self, name) for name in OPERATIONS}


@dataclass(frozen=True, slots=True)
class Augmented:
    """A made-up pair, the positions of its sources, first the main one, and what was done."""

    pair: Pair
    seed: int
    sources: tuple[int, ...]
    operations: tuple[str, ...]


def augment_item(
    index: int,
    read: Callable[[int], Pair],
    n_sources: int,
    settings: AugmentSettings,
    seed: int,
    epoch: int = 0,
) -> Augmented:
    """Make item `index` of an endless augmented dataset from `n_sources` pairs.

    `read` gives the pair at a position from 0 to n_sources - 1. The main source is item
    `index % n_sources`, others are drawn from all, with replacement, so that one pair suffices.
    The same arguments give the same item. An operation draws from random numbers of its own: a
    share that changes leaves the choices of the other operations as they were.
    """
    own_seed = item_seed(seed, f"augment {epoch}", index)
    sources = [index % n_sources]
    pair = read(sources[0])
    size_hw = settings.size_hw or pair.size_hw

    def supply(first: Pair, rng: np.random.Generator) -> Iterator[Pair]:
        yield first
        while True:
            sources.append(int(rng.integers(n_sources)))
            yield read(sources[-1])

    operations = _choose(settings, own_seed)
    for name in operations:
        rng = np.random.default_rng((own_seed, 1 + list(OPERATIONS).index(name)))
        pair = OPERATIONS[name](supply(pair, rng), size_hw, rng)
    return Augmented(resized(pair, size_hw), own_seed, tuple(sources), operations)


def _choose(settings: AugmentSettings, own_seed: int) -> tuple[str, ...]:
    """Draw the operations of an item, in order."""
    lots = np.random.default_rng((own_seed, 0)).random(len(OPERATIONS))
    drawn = dict(zip(OPERATIONS, lots, strict=True))
    # one lot for both: the lower end is for splicing, the upper for copy-paste
    drawn["copy_paste"] = 1 - drawn["splice"]
    return tuple(name for name, share in settings.shares().items() if drawn[name] < share)
