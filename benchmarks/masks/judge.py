"""The figures of every row for every item, on several processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from benchmarks.report import tell
from diffumask.masks.class_map import make_class_map
from diffumask.proof.figures import figures_of, swapped
from diffumask.types import ClassMap

from .fitted import Fitted
from .items import read
from .methods import GATED, row_masks
from .ways import Made, View

Row = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judged:
    """All figures of an item: those of `diffumask.proof.figures` by row, and `swapped`.

    `wrong_empty` tells whether our mask of the wrong word is empty where presence is asked for;
    `path` and `index` lead to the item.
    """

    path: Path
    index: int
    kind: str
    class_name: str
    present: bool
    oracle: float
    wrong_empty: bool
    rows: dict[str, Row]


def row_of(made: Made, truth: ClassMap) -> Row:
    """Return the figures of one mask; `swapped` is NaN where there is no second."""
    figures = figures_of(made.mask, truth, open_px=made.open_px, heat=made.heat)
    both = float(swapped(made.mask, made.second, truth)) if made.second is not None else np.nan
    return {**asdict(figures), "swapped": both}


def judge(path: Path, fitted: Fitted, affinity_net: Path | None) -> list[Judged]:
    """Make and judge all masks of the items of a file."""
    judged = []
    for index, item in enumerate(read(path)):
        view = View(item, affinity_net)
        made = row_masks(view, fitted.settings)
        of_wrong = make_class_map(view.wrong, GATED).class_map
        judged.append(
            Judged(
                path,
                index,
                item.kind,
                item.class_name,
                item.present,
                item.oracle,
                not (of_wrong == view.wrong.prompt.targets[0].class_id).any(),
                {name: row_of(one, item.truth) for name, one in made.items()},
            )
        )
    return judged


def judge_all(
    paths: Sequence[Path], fitted: Fitted, affinity_net: Path | None, workers: int
) -> list[Judged]:
    """Judge the items of all files."""
    work = partial(judge, fitted=fitted, affinity_net=affinity_net)
    return [one for of_file in on_all(work, paths, workers) for one in of_file]


def on_all(work: Callable[[Path], T], paths: Sequence[Path], workers: int) -> Iterator[T]:
    """Yield what a function makes of each file, in order, and say how far it is."""
    # Spawned: a fork of a process that has run torch may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for done, made in enumerate(pool.map(work, paths), start=1):
            yield made
            tell(f"{done}/{len(paths)} files of items")
