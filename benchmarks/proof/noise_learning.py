"""How well `diffumask filter` finds damaged masks, and how long it takes on 1,000 `tiny` items.

Items are rendered scenes of one object, whose masks are exact; those of a share of the items are
damaged in the ways in which masks of attention fail (`DAMAGES`), so that the truth about each item
is known. The command runs as a user runs it, in a process of its own, and is timed from its start
to its end. A score finds damage as well as its AUROC says: 1 ranks all damaged items before all
whole ones, 0.5 is chance. Pruned are as many items as there are damaged ones, so that precision
is also recall. The scores of the items stand for those that `generate` writes: stability and
agreement are those of a made-up heat map of the damaged mask, and know nothing of the truth.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import Float64
from scipy.stats import mannwhitneyu

from benchmarks.commands import Spent, diffumask
from benchmarks.report import Report, table
from diffumask.dataset.listing import read_records
from diffumask.dataset.names import item_name
from diffumask.dataset.store import open_store
from diffumask.masks.scores import score
from diffumask.metrics import iou
from diffumask.scenes import load_catalog, render_scene
from diffumask.seeds import item_seed
from diffumask.types import Example, Mask, Prompt, Target

SIDE_PX = 128
FIRST_SEED = 40_000_000  # far from the seeds of other benchmarks
THRESHOLD = 0.5
GOAL_S = 20 * 60
TRUTHS_FILE = "truths.json"


def flood(mask: Mask, rng: np.random.Generator) -> Mask:
    """Let the mask run over into what is around it."""
    size = int(rng.integers(9, 25)) | 1
    return cv2.dilate(mask.astype(np.uint8), _ellipse(size)).astype(bool)


def shrunk(mask: Mask, rng: np.random.Generator) -> Mask:
    """Lose the outer part of the object, yet not all of it."""
    for size in range(int(rng.integers(9, 25)) | 1, 1, -2):
        inner = cv2.erode(mask.astype(np.uint8), _ellipse(size)).astype(bool)
        if inner.mean() > 0.01:
            return inner
    return mask


def part(mask: Mask, rng: np.random.Generator) -> Mask:
    """Keep what lies on one side of a line through the object: a head without its body."""
    y, x = np.nonzero(mask)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    kept = along < np.quantile(along, rng.uniform(0.35, 0.6))
    cut = np.zeros_like(mask)
    cut[y[kept], x[kept]] = True
    return cut


def elsewhere(mask: Mask, rng: np.random.Generator) -> Mask:
    """Move the mask off the object by a third of the image or more."""
    shift = [int(rng.integers(side // 3, side // 2)) for side in mask.shape]
    return np.roll(mask, shift, (0, 1))


def beside(mask: Mask, rng: np.random.Generator) -> Mask:
    """Add a blob of background."""
    y, x = rng.integers(mask.shape)
    radius = int(rng.integers(min(mask.shape) // 6, min(mask.shape) // 4))
    blob = cv2.circle(mask.astype(np.uint8), (int(x), int(y)), radius, 1, -1)
    return blob.astype(bool)


DAMAGES: Mapping[str, Callable[[Mask, np.random.Generator], Mask]] = {
    "flood": flood,
    "shrunk": shrunk,
    "part": part,
    "elsewhere": elsewhere,
    "beside": beside,
}


def _ellipse(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


@dataclass(frozen=True, slots=True)
class Truth:
    """What was done to a mask, "" for nothing, and the IoU that is left with the exact one."""

    damage: str
    iou: float


def write_items(folder: Path, classes: Sequence[str], n: int, share: float, seed: int) -> None:
    """Render `n` items, the classes taking turns, and damage the masks of a share of them."""
    ids = {name: load_catalog().classes[name].class_id for name in classes}
    truths: dict[str, tuple[str, float]] = {}
    with open_store(folder, {"model": "renders", "keep_maps": False}, ids, {}) as store:
        for position in range(n):
            index, of_class = divmod(position, len(classes))
            class_name = classes[of_class]
            rng = np.random.default_rng(item_seed(seed, class_name, index))
            scene = render_scene(
                FIRST_SEED + seed * n + position, (SIDE_PX, SIDE_PX), class_names=[class_name]
            )
            exact = scene.objects[0].mask
            damage = str(rng.choice(list(DAMAGES))) if rng.random() < share else ""
            mask = DAMAGES[damage](exact, rng) if damage else exact
            target = Target(class_name, class_name, ids[class_name])
            class_map = np.where(mask, np.uint8(target.class_id), np.uint8(0))
            prompt = Prompt(f"a photo of a {class_name}", (target,))
            example = Example(prompt, position, scene.image, class_map, _scores(mask, rng))
            name = item_name(class_name, index)
            store.write(name, example, {})
            truths[name] = damage, iou(mask, exact)
    (folder / TRUTHS_FILE).write_text(json.dumps(truths))


def _scores(mask: Mask, rng: np.random.Generator) -> Mapping[str, float]:
    """Score the mask by a heat map that it could have come from: blurred, with noise."""
    noise = cv2.GaussianBlur(rng.normal(size=mask.shape).astype(np.float32), (0, 0), 8)
    sigma = float(rng.uniform(2, 6))
    heat = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma) + noise / noise.std() * 0.08
    heat = np.clip(heat, 0, 1).astype(np.float32)
    return score(
        heat[None], [THRESHOLD], (heat > THRESHOLD).astype(np.uint8), mask.astype(np.uint8)
    )


def auroc(damaged: Sequence[bool], quality: Float64[np.ndarray, " n"]) -> float:
    """Return how likely a damaged item has the lower quality of a pair; ties count half."""
    bad = np.array(damaged)
    wins = mannwhitneyu(quality[~bad], quality[bad]).statistic
    return float(wins / (bad.sum() * (~bad).sum()))


def precision(damaged: Sequence[bool], quality: Float64[np.ndarray, " n"]) -> float:
    """Return the share of damaged items among as many lowest ones as there are damaged ones."""
    bad = np.array(damaged)
    return float(bad[np.argsort(quality, kind="stable")[: bad.sum()]].mean())


def stored(folder: Path, key: str) -> dict[str, float]:
    """Read a number of each item."""
    return {record.name: record.fields[key] for record in read_records(folder)}


def measure(folder: Path, words: Sequence[str], seed: int) -> tuple[list[Spent], dict[str, dict]]:
    """Filter in every way; return the times, and each score of the items by name."""
    first, _ = diffumask("filter", folder, *words)
    scores = {"IoU of the held-out prediction (Q)": stored(folder, "quality")}
    again, _ = diffumask("filter", folder, *words, "--alpha", "0.5")
    other, _ = diffumask("filter", folder, *words, "--method", "confident-learning")
    scores["confident learning (cleanlab)"] = stored(folder, "quality")
    of_items = {record.name: record.scores for record in read_records(folder)}
    for name in next(iter(of_items.values())):
        scores[f"score {name}"] = {item: one[name] for item, one in of_items.items()}
    rng = np.random.default_rng(seed)
    scores["random"] = {item: rng.random() for item in of_items}
    return [first, again, other], scores


def scores_table(
    truths: Mapping[str, Truth], scores: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Write how well each score finds the damaged items, all of them and of each kind."""
    names = sorted(truths)
    damaged = [bool(truths[name].damage) for name in names]
    whole = [name for name in names if not truths[name].damage]
    left = np.array([truths[name].iou for name in names])
    rows = []
    for label, of_items in scores.items():
        quality = np.array([of_items[name] for name in names])
        kept = np.argsort(quality, kind="stable")[sum(damaged) :]
        cells = [auroc(damaged, quality), precision(damaged, quality), float(left[kept].mean())]
        for kind in DAMAGES:
            own = [name for name in names if truths[name].damage == kind]
            of_both = np.array([of_items[name] for name in own + whole])
            cells.append(auroc([True] * len(own) + [False] * len(whole), of_both))
        rows.append([label, *(f"{cell:.3f}" for cell in cells)])
    return table(("ranked by", "AUROC", "precision", "IoU of the kept", *DAMAGES), rows)


def main(
    work: Annotated[Path, "a folder that is not there yet"],
    n: int = 1000,
    classes: Annotated[int, "the first of the catalogue"] = 27,
    share: Annotated[float, "of damaged masks"] = 0.3,
    seed: int = 0,
    folds: int = 3,
    steps: int = 1000,
) -> Report:
    """Render, damage, filter, and compare with what was damaged."""
    if not (work / TRUTHS_FILE).exists():
        write_items(work, list(load_catalog().classes)[:classes], n, share, seed)
    raw = json.loads((work / TRUTHS_FILE).read_text())
    truths = {name: Truth(*one) for name, one in raw.items()}
    words = ["--folds", str(folds), "--steps", str(steps), "--seed", str(seed)]
    times, scores = measure(work, words, seed)
    damaged = [one.iou for one in truths.values() if one.damage]
    mean = np.mean([one.iou for one in truths.values()])
    facts = [
        f"{len(truths)} renders of {SIDE_PX}x{SIDE_PX} pixels and {classes} classes, seed {seed};",
        f"those of {len(damaged)} have damaged masks, of a mean IoU of {np.mean(damaged):.3f} with",
        f"the exact ones ({mean:.3f} over all).",
    ]
    names = [f"trains {folds} networks, {steps} steps each", "another alpha", "the other method"]
    rows = [
        (name, f"{one.wall_s:.0f}", f"{one.cpu_s:.0f}")
        for name, one in zip(names, times, strict=True)
    ]
    lines = [
        *table(("`diffumask filter`", "seconds", "CPU seconds"), rows),
        "",
        f"Goal: {GOAL_S} s for 1,000 items on two cores.",
        "",
        "AUROC 0.5 is chance; the last columns are those of one kind of damage against all whole",
        "items. Precision is the share of damaged ones among the lowest, of which as many are",
        "taken as there are damaged ones; the IoU of the others is that with the exact masks.",
        "",
        *scores_table(truths, scores),
    ]
    return Report("Noise learning: does `diffumask filter` find damaged masks?", facts, lines)
