"""One training of synthetic_to_real.py: what it learns from, and how it does."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffumask.augment.compose import AugmentSettings, augment_item
from diffumask.dataset.decode import read_pair
from diffumask.dataset.pair import Pair
from diffumask.dataset.record import Record
from diffumask.files.atomic import write_file
from diffumask.labelled.labels import Labels
from diffumask.metrics import class_ious, confusion_matrix
from diffumask.segmentation.fitting import FitSettings, fit
from diffumask.segmentation.networks import Network, new_network
from diffumask.segmentation.predict import class_maps

from .world import (
    CLASS_IDS,
    DEV,
    POOLS,
    TESTS,
    TRAIN,
    annotated,
    first_records,
    make_pool,
    real_scenes,
)

MODEL, LEARNING_RATE = "upernet-tiny", 3e-3
TEST_SCENES, DEV_SCENES = 300, 100
MOST_STEPS, CURVE_EVERY = 3000, 200  # a training ends sooner, at a plateau of its loss
SHARES = AugmentSettings()
NO_AUGMENTATION = AugmentSettings(0.0, 0.0, 0.0, 0.0, 0.0)
ENDLESS = 10**6  # items of an augmented or mixed set, of which no two are the same


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Items of a pool: how many of each class, labelled how, the worst share `alpha` dropped."""

    pool: str = "all"
    per_class: int = POOLS["all"].per_class
    annotation: str | None = None
    alpha: float = 0.3
    classes: tuple[str, ...] = tuple(CLASS_IDS)
    augmentation: AugmentSettings = SHARES


@dataclass(frozen=True, slots=True)
class Run:
    """What a network is trained on: real scenes, synthetic items, or both by turns."""

    real: int = 0
    synthetic: Synthetic | None = None
    real_classes: tuple[str, ...] = tuple(CLASS_IDS)
    real_augmentation: AugmentSettings = NO_AUGMENTATION

    def path(self, work: Path, seed: int) -> Path:
        """Return where its result is kept."""
        spelled = json.dumps(
            [asdict(self), seed, MODEL, LEARNING_RATE, MOST_STEPS, TEST_SCENES], sort_keys=True
        )
        digest = hashlib.blake2b(spelled.encode(), digest_size=8).hexdigest()
        return work / "runs" / f"{digest}.json"


class Augmented:
    """An endless sequence of augmented pairs."""

    def __init__(self, pairs: Sequence[Pair], settings: AugmentSettings, seed: int) -> None:
        self.pairs, self.settings, self.seed = pairs, settings, seed

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Pair:
        order = np.random.default_rng((self.seed, index)).integers(len(self.pairs))
        made = augment_item(
            int(order) + len(self.pairs) * index,
            self.pairs.__getitem__,
            len(self.pairs),
            self.settings,
            self.seed,
        )
        return made.pair


class ByTurns:
    """An endless sequence that takes from one and the other."""

    def __init__(self, one: Sequence[Pair] | Augmented, other: Sequence[Pair] | Augmented) -> None:
        self.both = one, other

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Pair:
        chosen = self.both[index % 2]
        return chosen[(index // 2) % len(chosen)]


def kept(records: Sequence[Record], alpha: float) -> list[Record]:
    """Return the records of each class without the share `alpha` of lowest quality.

    An item that could not be judged, for its mask is empty, has none and counts as the lowest.
    """
    chosen: list[Record] = []
    for class_name in sorted({record.class_name for record in records}):
        of_class = [record for record in records if record.class_name == class_name]
        if alpha:
            of_class.sort(key=lambda record: record.quality or 0.0, reverse=True)
        chosen += of_class[: round((1 - alpha) * len(of_class))]
    return chosen


def synthetic_pairs(work: Path, wanted: Synthetic) -> list[Pair]:
    """Read the items; their pool and masks are there already."""
    folder = make_pool(work, wanted.pool)
    if wanted.annotation:
        folder = annotated(work, folder, wanted.annotation)
    records = first_records(folder, wanted.per_class)
    records = [record for record in records if record.class_name in wanted.classes]
    return [read_pair(folder, record) for record in kept(records, wanted.alpha)]


def training_set(work: Path, run: Run, seed: int) -> Sequence[Pair] | Augmented | ByTurns:
    """Put together what a run learns from."""
    sets: list[Sequence[Pair] | Augmented] = []
    if run.real:
        scenes = real_scenes(TRAIN, run.real, run.real_classes)
        sets.append(_augmented(scenes, run.real_augmentation, seed))
    if run.synthetic:
        pairs = synthetic_pairs(work, run.synthetic)
        sets.append(_augmented(pairs, run.synthetic.augmentation, seed))
    return sets[0] if len(sets) == 1 else ByTurns(*sets)


def _augmented(
    pairs: Sequence[Pair], settings: AugmentSettings, seed: int
) -> Sequence[Pair] | Augmented:
    return pairs if settings == NO_AUGMENTATION else Augmented(pairs, settings, seed)


def result_of(work: Path, run: Run, seed: int) -> dict[str, Any]:
    """Train and test, or read the result of an earlier time.

    Of IoU by class for each kind of test, and of how it learnt: `curve` has steps and mIoU on
    scenes that are no test, which chose nothing, `time` the steps and seconds it took.
    """
    path = run.path(work, seed)
    if path.exists():
        return json.loads(path.read_text("utf-8"))
    torch.set_num_threads(1)
    started, curve = time.perf_counter(), []
    labels = Labels(CLASS_IDS)
    network = new_network(MODEL, labels, seed)
    settings = FitSettings(
        MOST_STEPS,
        learning_rate=LEARNING_RATE,
        seed=seed,
        checkpoint_every=CURVE_EVERY,
        until_plateau=True,
    )
    dev = real_scenes(DEV, DEV_SCENES)

    def on_checkpoint(step: int) -> None:
        curve.append((step, float(np.nanmean(list(_ious(network, labels, dev).values())))))

    steps = fit(network, training_set(work, run, seed), settings, on_checkpoint=on_checkpoint)
    result: dict[str, Any] = {
        kind: _ious(network, labels, real_scenes(scenes, TEST_SCENES))
        for kind, scenes in TESTS.items()
    }
    result["curve"] = curve
    result["time"] = {"steps": steps, "seconds": round(time.perf_counter() - started, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(result, indent=1).encode())
    return result


def _ious(network: Network, labels: Labels, scenes: Sequence[Pair]) -> dict[str, float]:
    predicted = class_maps(network, [scene.image for scene in scenes])
    counts = sum(
        confusion_matrix(labels.encode(one), labels.encode(scene.class_map), len(labels.names))
        for one, scene in zip(predicted, scenes, strict=True)
    )
    return dict(zip(labels.names, class_ious(np.asarray(counts)).tolist(), strict=True))
