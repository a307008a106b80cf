"""Write rendered scenes with exact masks as a dataset: what stands for real images of `tiny`.

    python -m diffumask.scenes --n 100 --out real [--class bird --class cat] [--split test]

Seeds start far from those that `tiny` was trained on, and sprites of the split `test` were shown to
no model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from diffumask.dataset.names import item_name
from diffumask.dataset.store import open_store
from diffumask.errors import InputError
from diffumask.types import Example, Prompt, Target

from .catalog import Split, load_catalog
from .render import choose_classes, render_scene

FIRST_SEED = 40_000_000
EXIT_INPUT_ERROR = 2


def write_scenes(
    folder: Path, count: int, class_names: Sequence[str], split: Split, seed: int
) -> None:
    """Write scenes of one to three of the classes; those that are there are kept.

    Raises InputError for a class that cannot be drawn, and as `open_store`.
    """
    known = load_catalog().classes
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise InputError(f"expected classes among {', '.join(known)}, got {unknown[0]!r}")
    ids = {name: known[name].class_id for name in class_names}
    settings = {"scenes": list(class_names), "split": split, "seed": seed}
    with open_store(folder, settings, ids, {"n": count}) as store:
        for index in range(count):
            name = item_name("scene", index)
            if name not in store.records:
                made = _scene(FIRST_SEED + seed + index, class_names, split)
                store.write(name, made, {"index": index, "foreground": _foreground(made)})


def _scene(seed: int, class_names: Sequence[str], split: Split) -> Example:
    chosen = choose_classes(class_names, np.random.default_rng((seed, len(class_names))))
    scene = render_scene(seed, split=split, class_names=chosen)
    targets = tuple(Target(one.class_name, one.class_name, one.class_id) for one in scene.objects)
    return Example(Prompt(scene.caption, targets), seed, scene.image, scene.class_map)


def _foreground(example: Example) -> float:
    return round(float((example.class_map > 0).mean()), 6)


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--class", dest="classes", action="append")
    parser.add_argument("--split", choices=get_args(Split), default="train")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    classes = arguments.classes or list(load_catalog().classes)
    try:
        write_scenes(arguments.out, arguments.n, classes, arguments.split, arguments.seed)
    except InputError as error:
        print(f"diffumask.scenes: {error}", file=sys.stderr)
        return EXIT_INPUT_ERROR
    print(f"{arguments.n} scenes in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
