"""What do 1 to 30 labelled photographs give, and does an ensemble know where it is wrong?

DatasetGAN's idea (Zhang et al. 2021): an ensemble of small networks on the hidden states of each
pixel learns from a handful of labels, and where its members disagree no label is better than a
wrong one. --data is as for `segmentator_photographs`. An ensemble (design `mlp`), the default head,
a linear one, and a network of as many parameters as a head learn from the same images in the same
seconds. The ensemble then leaves out pixels on which not all members agree; beside it as many of
the lowest probability, and as many at random. Curves that stand in --work are not made again.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np

from benchmarks.report import Report, table, tell
from diffumask.labelled.folder import Labelled
from diffumask.segmentator import Predictor
from diffumask.types import IGNORE_ID

from .curves import SIDE, Job, head_curve, narrow_network, network_curve
from .segmentator_photographs import AUTOENCODER, PHOTOGRAPHS

LABELS = (1, 5, 10, 30)
DEFAULT_SETS = ("oxford_pets_subset", "camvid")
HEADS = {"mlp": "ensemble", "pyramid": "default head", "linear": "linear head"}
NETWORK = "network of its size"


def main(
    data: Annotated[Path, "the folder of the photographs"],
    work: Annotated[Path, "where curves are kept"],
    budget_s: float = 20.0,
    labels: Annotated[Sequence[int], "labelled images"] = LABELS,
    seeds: int = 3,
    held_out: int = 100,
    sets: Annotated[Sequence[str], "sets of photographs", PHOTOGRAPHS] = DEFAULT_SETS,
) -> Report:
    """Make the curves that are missing."""
    work.mkdir(parents=True, exist_ok=True)
    scores: list[Sequence[object]] = []
    doubts: list[Sequence[object]] = []
    for name, images in product(sets, labels):
        job = Job(PHOTOGRAPHS[name], data, work, "", images, held_out, budget_s)
        found = _found(job, name, seeds, data / AUTOENCODER)
        scores.append((name, images, *(_spread(_last(each)) for each in found.values())))
        doubts.append((name, images, *_doubts(found["mlp"])))
    facts = [
        f"One thread, {budget_s:g} s for each training, encoding counted, {seeds} seeds, which"
        f" choose the images too; {held_out} held-out ones, shorter side {SIDE} px. Means over"
        " seeds, with the lowest and the highest.",
        "TAEF2 (madebyollin/taesd, MIT) was trained on photographs.",
    ]
    lines = [
        *table(("data", "labels", *HEADS.values(), NETWORK), scores),
        "",
        "Of the ensemble's pixels, those wrong: of all, and of the rest once so many are left out,"
        " where members disagree, where it is least sure, and at random.",
        "",
        *table(
            ("data", "labels", "left out", "wrong", "disagreement", "least sure", "at random"),
            doubts,
        ),
    ]
    return Report("A few labelled photographs: an ensemble of heads, and its doubts", facts, lines)


def _found(
    job: Job, name: str, seeds: int, autoencoder: Path
) -> dict[str, list[Mapping[str, Any]]]:
    """Return what each method reaches by seed, each in a process of its own."""
    found: dict[str, list[Mapping[str, Any]]] = {method: [] for method in (*HEADS, NETWORK)}
    for seed, method in product(range(seeds), found):
        own = f"{name}-{job.images}-{seed}"
        path = job.work / f"{own}-{method.replace(' ', '_')}.json"
        if not path.exists():
            one = replace(job, name=own, seed=seed, autoencoder=autoencoder)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                path.write_text(json.dumps(pool.submit(_learn, one, method).result()), "utf-8")
            tell(f"{own}, {method}")
        found[method].append(json.loads(path.read_bytes()))
    return found


def _learn(job: Job, method: str) -> dict[str, Any]:
    if method == NETWORK:
        return network_curve(job, narrow_network)
    job = replace(job, design=method)
    return head_curve(job, partial(doubt, seed=job.seed)) if method == "mlp" else head_curve(job)


def doubt(judged: Labelled, predictor: Predictor, seed: int) -> dict[str, Any]:
    """Return the share of pixels without agreement, and of those wrong with and without them."""
    agreed = replace(predictor, agreement=1.0)
    wrong, out, sure = [], [], []
    for index in range(len(judged)):
        image, truth = judged[index].image, judged.class_map(index)
        counts = truth != IGNORE_ID
        wrong.append((predictor(image) != truth)[counts])
        out.append((agreed(image) == IGNORE_ID)[counts])
        sure.append(predictor.probabilities(image).max(0)[counts])
    is_wrong, left_out, surety = (np.concatenate(one) for one in (wrong, out, sure))
    n_out = int(left_out.sum())
    by_surety = np.argsort(surety, kind="stable")[n_out:]
    at_random = np.random.default_rng(seed).permutation(len(surety))[n_out:]
    kept = {"agreement": ~left_out, "surety": by_surety, "random": at_random}
    return {
        "left_out": n_out / len(surety),
        "wrong": float(is_wrong.mean()),
        **{f"wrong_{name}": float(is_wrong[one].mean()) for name, one in kept.items()},
    }


def _last(curves: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the mIoU at the end, by seed."""
    return [one["points"][-1][1] for one in curves]


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _doubts(curves: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    keys = ("left_out", "wrong", "wrong_agreement", "wrong_surety", "wrong_random")
    return tuple(f"{mean(one[key] for one in curves):.1%}" for key in keys)
