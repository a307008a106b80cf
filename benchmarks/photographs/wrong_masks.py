"""Photographs whose masks are wrong: damaged on purpose, or drawn by a head of few labels."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np

from benchmarks.proof.noise_learning import DAMAGES
from diffumask.dataset.names import item_name
from diffumask.dataset.store import open_store
from diffumask.files.atomic import write_file
from diffumask.labelled.folder import Labelled
from diffumask.metrics import iou
from diffumask.segmentator import Predictor, TrainSettings, train_segmentator
from diffumask.segmentator.predict import working_image
from diffumask.types import IGNORE_ID, ClassMap, Example, Image, Prompt, Target

from .curves import SIDE, opened
from .sets import PhotographSet
from .taef2 import load_taef2

DAMAGE_SHARE, WRONG_IOU = 0.3, 0.7
HEAD_LABELS, HEAD_STEPS = 10, 100
AUTOENCODER, TRUTHS = "taef2", "truths.json"
Given = tuple[Image, ClassMap, ClassMap, str]  # an image, its exact masks, those given, the damage


def write_all(
    kind: str, photographs: PhotographSet, data: Path, place: Path, most: int, seed: int
) -> None:
    """Write the folders of exact and given masks, and of some given ones drawn at random."""
    labelled = opened(photographs, data, "train", most, seed)
    items = list(MADE[kind](labelled, data, seed))
    names = {class_id: one for one, class_id in labelled.mapping.classes.ids.items()}
    shown = sorted(
        {int(one) for _, exact, _, _ in items for one in np.unique(exact)} - {0, IGNORE_ID}
    )
    ids = {names[one]: one for one in shown}
    truths: dict[str, tuple[str, float]] = {}
    n_right = sum(not damage for *_, damage in items)
    drawn = set(np.random.default_rng(seed).permutation(len(items))[:n_right].tolist())
    for folder in ("exact", "given", "random"):
        with open_store(place / folder, {"model": "photographs"}, ids, {}) as store:
            for at, (image, exact, given, damage) in enumerate(items):
                item = item_name("photograph", at)
                truths[item] = damage, _iou(given, exact)
                class_map = exact if folder == "exact" else given
                targets = tuple(Target(one, one, ids[one]) for one in ids if ids[one] in class_map)
                if targets and (folder != "random" or at in drawn):
                    prompt = Prompt(" and ".join(one.word for one in targets), targets)
                    store.write(item, Example(prompt, at, image, class_map), {})
    write_file(place / TRUTHS, json.dumps(truths).encode())


def _iou(given: ClassMap, exact: ClassMap) -> float:
    """Return the mean IoU of what either shows, where the exact map is sure."""
    sure = exact != IGNORE_ID
    classes = set(np.unique(exact[sure]).tolist()) | set(np.unique(given[sure]).tolist())
    found = [iou((given == one) & sure, (exact == one) & sure) for one in sorted(classes - {0})]
    return mean(found) if found else 1.0


def _sized(labelled: Labelled) -> Iterator[tuple[Image, ClassMap]]:
    """Bring photographs that show a class to the side of all benchmarks."""
    for pair in labelled:
        image = working_image(pair.image, SIDE)
        size_wh = image.shape[1], image.shape[0]
        exact = cv2.resize(pair.class_map, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
        if set(np.unique(exact).tolist()) - {0, IGNORE_ID}:
            yield image, exact


def _damaged(labelled: Labelled, data: Path, seed: int) -> Iterator[Given]:
    """Damage the largest object of a share of the photographs."""
    rng = np.random.default_rng(seed)
    for image, exact in _sized(labelled):
        damage = str(rng.choice(list(DAMAGES))) if rng.random() < DAMAGE_SHARE else ""
        sure = np.where(exact == IGNORE_ID, 0, exact).astype(np.uint8)  # so that none tells itself
        yield image, exact, _spoilt(sure, DAMAGES[damage], rng) if damage else sure, damage


def _spoilt(sure: ClassMap, damage: Callable[..., Any], rng: np.random.Generator) -> ClassMap:
    largest = int(np.bincount(sure[sure != 0]).argmax())
    rest = np.where(sure == largest, 0, sure)
    return np.where(damage(sure == largest, rng), largest, rest).astype(np.uint8)


def _predicted(labelled: Labelled, data: Path, seed: int) -> Iterator[Given]:
    """Let a head that learnt from some of the photographs draw the masks of the others."""
    vae = load_taef2(data / AUTOENCODER)
    few = replace(labelled, pairs=labelled.pairs[:HEAD_LABELS])
    settings = TrainSettings(SIDE, num_steps=HEAD_STEPS, batch_size=4, held_out=0, seed=seed)
    predictor = Predictor(
        train_segmentator(vae, few, settings, (AUTOENCODER, AUTOENCODER)).segmentator, vae
    )
    others = replace(labelled, pairs=labelled.pairs[HEAD_LABELS:])
    for image, exact in _sized(others):
        given = predictor(image)
        if given.any():
            wrong = "predicted" if _iou(given, exact) < WRONG_IOU else ""
            yield image, exact, given, wrong


MADE: Mapping[str, Callable[[Labelled, Path, int], Iterator[Given]]] = {
    "made": _damaged,
    "predicted": _predicted,
}
