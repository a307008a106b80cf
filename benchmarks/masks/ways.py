"""What a way to make a mask starts from, what it gives, and which settings it may choose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.filters import threshold_otsu

from diffumask.attention.aggregate import aggregate
from diffumask.masks.enlarge import enlarge
from diffumask.types import GridHeat, Heat, Image, Mask, Sample

from .items import Item

Range = tuple[float, float] | tuple[int, int] | tuple[str, ...]  # bounds, or names to choose from
Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """The mask of the asked object; `second` is that of a second one that is asked too.

    `open_px` are labelled 255; `heat` is what the mask was made of, where it points somewhere.
    """

    mask: Mask
    open_px: Mask | None = None
    heat: GridHeat | None = None
    second: Mask | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make masks, its published (or shipped) settings, and the range of each of them."""

    make: Callable[..., Made]  # of a View and the settings
    published: Settings
    ranges: Mapping[str, Range]


class View:
    """An item with what several ways make of its attention, made once."""

    def __init__(self, item: Item, affinity_net: Path | None = None) -> None:
        self.item, self.affinity_net = item, affinity_net
        self.image: Image = item.image
        self.size_hw = (item.image.shape[0], item.image.shape[1])
        self.word = item.right.prompt.targets[0].word
        self.attention = item.right.attention
        self.matrix = torch.from_numpy(item.right.matrix)

    @cached_property
    def sample(self) -> Sample:
        """The sample as the package makes it."""
        return self.item.sample(self.item.right)

    @cached_property
    def wrong(self) -> Sample:
        """The sample of the prompt with the wrong word."""
        return self.item.sample(self.item.wrong)

    @cached_property
    def grids(self) -> Mapping[int, GridHeat]:
        """The mean attention to the asked word by the factor of the grid, 1 the finest."""
        columns = list(self.item.right.columns[self.word])
        return {factor: maps[columns].mean(0) for factor, maps in self.item.right.maps.items()}

    @cached_property
    def cells(self) -> GridHeat:
        """The attention of the finest layers on the grid of the matrix, with a peak of 1."""
        finest = {min(self.grids): 1.0}
        return aggregate(self.attention, self.item.right.matrix_hw, finest)[0][self.word]

    @cached_property
    def affinity(self) -> Mask:
        """A mask of all that belongs together: by an AffinityNet, or else by self-attention."""
        if self.affinity_net:
            from diffumask.affinity_net import affinity_heat

            net = _network(self.affinity_net)
            heat = affinity_heat(net, self.image, self.sample.heats[self.word])
        else:
            heat = enlarge(self.sample.affinities[self.word], self.size_hw)
        return heat > otsu(heat)


@cache
def _network(folder: Path) -> Any:
    from diffumask.affinity_net import load

    return load(folder)


def otsu(heat: Heat) -> float:
    """Return Otsu's threshold; 1 for a map of zeros, which has nothing above it."""
    return float(threshold_otsu(heat)) if heat.any() else 1.0


def drawn_settings(way: Way, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the published settings and `count` - 1 more, drawn evenly from the ranges."""
    more = [{name: _one(of, rng) for name, of in way.ranges.items()} for _ in range(count - 1)]
    return [dict(way.published), *more]


def _one(choices: Range, rng: np.random.Generator) -> Any:
    low, high = choices[0], choices[-1]
    if isinstance(low, str) or isinstance(high, str):
        return str(rng.choice(choices))
    if isinstance(low, int) and isinstance(high, int):
        return int(rng.integers(low, high + 1))
    return round(float(rng.uniform(low, high)), 3)
