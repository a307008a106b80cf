"""The "real" world and the synthetic pools of the proof, synthetic_to_real.py.

Real are rendered scenes with exact masks, of seeds that no other part of the project draws. They
are of three kinds: of the sprites that `tiny` was trained with, the same on busy grounds alone, and
of sprites that neither `tiny` nor any network of the proof has seen (`unseen sprites`). The classes
are those of VOC that have such sprites. Curves are drawn on scenes apart from all tests.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.commands import diffumask
from diffumask.dataset.listing import read_records
from diffumask.dataset.pair import Pair
from diffumask.dataset.record import Record
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.scenes import load_catalog, render_scene
from diffumask.scenes.catalog import Split
from diffumask.scenes.render import choose_classes

LAST_VOC_ID = 20
CLASS_IDS = {
    name: entry.class_id
    for name, entry in load_catalog().classes.items()
    if entry.test and entry.class_id <= LAST_VOC_ID
}
N_UNSEEN = 3  # of the classes: the last ones, as the paper takes the last 5 of 20
SEEN, UNSEEN = tuple(CLASS_IDS)[:-N_UNSEEN], tuple(CLASS_IDS)[-N_UNSEEN:]


@dataclass(frozen=True, slots=True)
class Scenes:
    """A kind of "real" scenes: their first seed, whose sprites they show, and on which grounds."""

    first_seed: int
    sprites: Split = "train"
    busy_alone: bool = False


TRAIN, DEV = Scenes(30_000_000), Scenes(34_000_000)
TESTS = {
    "unseen scenes": Scenes(31_000_000),
    "busy grounds": Scenes(33_000_000, busy_alone=True),
    "unseen sprites": Scenes(32_000_000, sprites="test"),
}
POOL_SEED = 5


@dataclass(frozen=True, slots=True)
class Pool:
    """Images of every class of the proof; `sub_classes` are how many of them prompts may name."""

    per_class: int
    sub_classes: int | None = None


POOLS = {"all": Pool(120), "plain": Pool(40, 0), "two sub-classes": Pool(40, 2)}

# The ways to label of the paper's table 4a, beside ours.
ANNOTATIONS = {  # heat, threshold and refiner
    "affinity map alone": ("affinity", "0.5", "none"),
    "attention, 0.4": ("attention", "0.4", "crf"),
    "attention, 0.5": ("attention", "0.5", "crf"),
    "attention, 0.6": ("attention", "0.6", "crf"),
    "attention, adaptive": ("attention", "adaptive", "crf"),
}


def real_scenes(kind: Scenes, count: int, names: Sequence[str] = tuple(CLASS_IDS)) -> list[Pair]:
    """Render scenes of one to three of the classes."""
    return [_scene(kind, kind.first_seed + index, names) for index in range(count)]


def _scene(kind: Scenes, seed: int, names: Sequence[str]) -> Pair:
    rng = np.random.default_rng((seed, len(names)))
    chosen, ground = choose_classes(names, rng), None
    if kind.busy_alone:
        busy = [one for one in load_catalog().backgrounds.values() if one.is_busy]
        ground = busy[int(rng.integers(len(busy)))]
    scene = render_scene(seed, split=kind.sprites, class_names=chosen, ground=ground)
    return Pair(scene.image, scene.class_map)


def make_pool(work: Path, name: str) -> Path:
    """Generate what a pool lacks, by the command that users call."""
    pool, folder = POOLS[name], work / name.replace(" ", "-")
    if len(read_records(folder)) == pool.per_class * len(CLASS_IDS):
        return folder
    arguments = ["--n", str(pool.per_class), "--seed", str(POOL_SEED), "--keep-maps"]
    for class_name in CLASS_IDS:
        arguments += ["--class", class_name]
    if pool.sub_classes is not None:
        vocabulary = work / f"{folder.name}.toml"
        vocabulary.write_text(fewer_sub_classes(pool.sub_classes), "utf-8")
        arguments += ["--vocabulary", str(vocabulary)]
    diffumask("generate", *arguments, "--out", folder)
    return folder


def fewer_sub_classes(count: int) -> str:
    """Write the vocabulary `tiny` with the first `count` sub-classes of each class."""
    vocabulary = load_vocabulary("tiny")
    lines = ['templates = "tiny"', "open = false", f"contexts = {json.dumps(vocabulary.contexts)}"]
    for entry in vocabulary.classes:
        if entry.name in CLASS_IDS:
            sub_classes = json.dumps(list(entry.sub_classes[:count]))
            lines += [
                f"[classes.{json.dumps(entry.name)}]",
                f"id = {entry.class_id}",
                f"sub_classes = {sub_classes}",
            ]
    return "\n".join(lines) + "\n"


def first_records(folder: Path, per_class: int) -> list[Record]:
    """Return the records of the first items of each class, in the order of their names."""
    records = (record for record in read_records(folder) if (record.index or 0) < per_class)
    return sorted(records, key=lambda record: record.name)


def annotated(work: Path, folder: Path, annotation: str) -> Path:
    """Make the masks of an annotation from a pool's kept maps; return the folder of both."""
    out = work / "annotations" / annotation.replace(" ", "-")
    if len(read_records(out)) < len(read_records(folder)):
        heat, threshold, refiner = ANNOTATIONS[annotation]
        words = ["--heat", heat, "--threshold", threshold, "--refiner", refiner]
        diffumask("remask", folder, "--out", out, *words)
    return out
