"""The "real" world and the synthetic pools of benchmarks/synthetic_to_real.py.

Real are rendered scenes with exact masks, of seeds that no other part of the project draws. They
are of two kinds: of the sprites that `tiny` was trained with, and of sprites that neither `tiny`
nor any network of the proof has seen (`unseen sprites`). The classes are those of VOC that have
such sprites.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from diffumask.dataset.decode import read_example, read_image
from diffumask.dataset.encode import encode_class_map
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import read_maps
from diffumask.dataset.pair import Pair
from diffumask.dataset.record import Record
from diffumask.generation.pipeline import annotate
from diffumask.masks.class_map import MaskSettings
from diffumask.masks.thresholds import Adaptive, Fixed
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.scenes import load_catalog, render_scene
from diffumask.scenes.catalog import Split
from diffumask.scenes.render import choose_classes
from diffumask.types import Sample

LAST_VOC_ID = 20
CLASS_IDS = {
    name: entry.class_id
    for name, entry in load_catalog().classes.items()
    if entry.test and entry.class_id <= LAST_VOC_ID
}
N_UNSEEN = 3  # of the classes: the last ones, as the paper takes the last 5 of 20
SEEN, UNSEEN = tuple(CLASS_IDS)[:-N_UNSEEN], tuple(CLASS_IDS)[-N_UNSEEN:]
REAL_SEED, TEST_SEEDS = 30_000_000, {"unseen scenes": 31_000_000, "unseen sprites": 32_000_000}
SPLITS: dict[str, Split] = {"unseen scenes": "train", "unseen sprites": "test"}
POOL_SEED = 5


@dataclass(frozen=True, slots=True)
class Pool:
    """Images of every class of the proof; `sub_classes` are how many of them prompts may name."""

    per_class: int
    sub_classes: int | None = None


POOLS = {"all": Pool(120), "plain": Pool(40, 0), "two sub-classes": Pool(40, 2)}

# The ways to label of the paper's table 4a, beside ours.
ANNOTATIONS = {
    "affinity map alone": MaskSettings("affinity", Fixed(0.5), "none"),
    "attention, 0.4": MaskSettings("attention", Fixed(0.4), "crf"),
    "attention, 0.5": MaskSettings("attention", Fixed(0.5), "crf"),
    "attention, 0.6": MaskSettings("attention", Fixed(0.6), "crf"),
    "attention, adaptive": MaskSettings("attention", Adaptive(), "crf"),
}


def real_scenes(kind: str, count: int, names: Sequence[str]) -> list[Pair]:
    """Render scenes of one to three of the classes, to train with or of a kind of test."""
    first = REAL_SEED if kind == "train" else TEST_SEEDS[kind]
    split: Split = "train" if kind == "train" else SPLITS[kind]
    return [_scene(seed, split, names) for seed in range(first, first + count)]


def _scene(seed: int, split: Split, names: Sequence[str]) -> Pair:
    chosen = choose_classes(names, np.random.default_rng((seed, len(names))))
    scene = render_scene(seed, split=split, class_names=chosen)
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
    diffumask("generate", *arguments, "--out", str(folder))
    return folder


def diffumask(*arguments: str) -> None:
    """Run a command of the package; what it prints is shown."""
    print("diffumask", *arguments, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "diffumask.cli", *arguments], check=True)


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


def annotated(folder: Path, annotation: str, per_class: int, work: Path, workers: int) -> Path:
    """Write the masks that an annotation makes of a pool's kept maps; return their folder."""
    masks = work / "annotations" / annotation.replace(" ", "-")
    masks.mkdir(parents=True, exist_ok=True)
    records = first_records(folder, per_class)
    missing = [one for one in records if not (masks / f"{one.name}.png").exists()]
    if missing:
        make: Callable[[Record], bytes] = partial(_annotate, folder, annotation)
        with ProcessPoolExecutor(workers, get_context("spawn")) as processes:
            for record, made in zip(
                missing, processes.map(make, missing, chunksize=8), strict=True
            ):
                (masks / f"{record.name}.png").write_bytes(made)
    return masks


def _annotate(folder: Path, annotation: str, record: Record) -> bytes:
    heats, affinities = read_maps(folder, record)
    image = read_image(folder, record)
    one = Sample(record.prompt, record.seed, image, heats, affinities)
    example, _ = annotate(one, ANNOTATIONS[annotation])
    return encode_class_map(example.class_map)


def read_pair(folder: Path, record: Record, masks: Path | None = None) -> Pair:
    """Read an item, with its own mask or that of another folder."""
    example = read_example(folder, record)
    if masks is None:
        return Pair(example.image, example.class_map)
    with PillowImage.open(masks / f"{record.name}.png") as picture:
        return Pair(example.image, np.array(picture))
