"""Does `diffumask filter` find wrong masks of photographs, and does training without them gain?

--data is as for `photographs`. Photographs of the split train get masks that are wrong in one of
two ways. `made`: a share of the exact ones is damaged as in `noise_learning`. `predicted`: a head
on TAEF2 that learnt from few of them draws those of the others; where the IoU with the exact is
low they are wrong, as nobody planned. `filter` ranks them by both its methods. Then `train` learns
from the exact masks, from all that were given, from what each method keeps and, as the control,
from as many drawn at random; `evaluate` judges on the held-out split. What stands in --work is not
made again.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np

from benchmarks.commands import diffumask
from benchmarks.proof.noise_learning import auroc, measure, precision
from benchmarks.report import Report, table, tell
from diffumask.files.atomic import write_file

from .curves import SIDE
from .photographs import SIZE, commands
from .sets import SETS
from .wrong_masks import DAMAGE_SHARE, HEAD_LABELS, MADE, TRUTHS, WRONG_IOU, write_all

METHODS = {"iou": "Q", "confident-learning": "confident learning"}
TRAININGS = ("exact", "given", *METHODS, "random")
USUAL = ("oxford_pets_subset", "voc2012_animals")


def main(
    data: Annotated[Path, "the folder of the photographs"],
    work: Annotated[Path, "where datasets and networks are kept"],
    most: Annotated[int, "photographs of a set"] = 300,
    seeds: int = 3,
    steps: int = 300,
    sets: Annotated[Sequence[str], "sets of photographs", SETS] = USUAL,
    kinds: Annotated[Sequence[str], "ways to be wrong", MADE] = tuple(MADE),
) -> Report:
    """Make the trials that are missing."""
    ranked: list[Sequence[object]] = []
    trained: list[Sequence[object]] = []
    for kind in kinds:
        for name in sets:
            trials = [_trial(kind, name, data, work, most, seed, steps) for seed in range(seeds)]
            ranked += [(kind, name, *row) for row in _rankings(trials)]
            trained.append((kind, name, *_gains(trials)))
    facts = [
        f"Up to {most} photographs a set, shorter side {SIDE} px; {seeds} seeds; means over seeds,"
        " with the lowest and the highest.",
        f"`made`: {DAMAGE_SHARE:.0%} of the masks are damaged; `predicted`: masks of a head of"
        f" {HEAD_LABELS} labels, wrong below an IoU of {WRONG_IOU}.",
        f"`filter` and `train` with `upernet-tiny`, {steps} steps; as many dropped as are wrong.",
    ]
    lines = [
        *table(("wrong", "data", "ranked by", "wrong ones", "AUROC", "precision"), ranked),
        "",
        "mIoU on held-out photographs, of networks that learnt from:",
        "",
        *table(("wrong", "data", *TRAININGS), trained),
    ]
    return Report("Wrong masks of photographs: `filter`, `train`, `evaluate`", facts, lines)


def _trial(
    kind: str, name: str, data: Path, work: Path, most: int, seed: int, steps: int
) -> dict[str, Any]:
    """Return what a seed gave, or read it."""
    place = work / f"{kind}-{name}-{seed}"
    done = place / "trial.json"
    if not done.exists():
        place.mkdir(parents=True, exist_ok=True)
        if not (place / TRUTHS).exists():
            write_all(kind, SETS[name], data, place, most, seed)
        truths = json.loads((place / TRUTHS).read_bytes())
        wrong = {item: bool(damage) for item, (damage, _) in truths.items()}
        words = ["--folds", 3, "--steps", steps, "--seed", seed, "--alpha", mean(wrong.values())]
        found = _ranked(place, list(map(str, words)), wrong, seed)
        found["miou"] = {
            one: _learnt(one, name, data, place, steps, seed, words) for one in TRAININGS
        }
        write_file(done, json.dumps(found, indent=2).encode())
        tell(f"{place.name}: {found['miou']}")
    return json.loads(done.read_bytes())


def _ranked(place: Path, words: Sequence[str], wrong: dict[str, bool], seed: int) -> dict[str, Any]:
    """Filter by both methods, and say how well each, and chance, ranks what is wrong."""
    _, scores = measure(place / "given", words, seed)
    names = sorted(wrong)
    is_wrong = [wrong[one] for one in names]
    rows = {}
    for label, of_items in scores.items():
        quality = np.array([of_items[one] for one in names])
        rows[label] = auroc(is_wrong, quality), precision(is_wrong, quality)
    return {"wrong": mean(is_wrong), "items": len(names), "ranked": rows}


def _learnt(
    one: str, name: str, data: Path, place: Path, steps: int, seed: int, words: Sequence[object]
) -> float:
    """Train on what one way keeps, and return the mIoU on the held-out photographs."""
    folder = place / (one if one in ("exact", "random") else "given")
    if one in METHODS:
        diffumask("filter", folder, *words, "--method", one)
    network = place / f"network-{one}"
    whole = [] if one in METHODS else ["--all"]
    typed = ["train", folder, *whole, "--model", "upernet-tiny", "--steps", steps]
    diffumask(*typed, "--size", SIZE, "--seed", seed, "-o", network)
    report = place / f"{one}.json"
    diffumask(*commands(SETS[name], data / name, "", steps, network)[1], "-o", report)
    shutil.rmtree(network)
    return json.loads(report.read_bytes())["miou"]


def _rankings(trials: Sequence[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    share = _spread([one["wrong"] for one in trials])
    for label in trials[0]["ranked"]:
        values = zip(*(one["ranked"][label] for one in trials), strict=True)
        yield label, share, *map(_spread, values)


def _gains(trials: Sequence[dict[str, Any]]) -> list[str]:
    return [_spread([one["miou"][way] for one in trials]) for way in TRAININGS]


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
