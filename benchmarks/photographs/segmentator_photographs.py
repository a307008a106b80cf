"""Does a Segmentator learn photographs faster than a segmentation network trained from nothing?

--data holds oxford_pets_subset/, voc2012_animals/ and camvid/, each with images/, masks/ and
labels.csv, and taef2/, a small autoencoder that was trained on photographs. A head on its decoder,
a network of as many parameters and `upernet-tiny` get the same labelled images in the same size and
the same seconds, in a process of their own; at most half of the head's go to encoding, of as many
images and views as that allows. The claim of the source (deepsense.ai, 2023) is that it
"significantly reduces training time" for "similar outputs". Where espnetv2_voc/ is in --data, it is
judged on the same images of VOC: a network that others trained on all of it. Curves that stand in
--work are not made again.
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

from benchmarks.charts import write_lines
from benchmarks.report import Picture, Report, table, tell
from diffumask.prompts.vocabulary import load_vocabulary

from .curves import HEAD_BATCH, METHODS, NETWORK, NETWORK_BATCH, SIDE, Job, miou, opened
from .espnetv2 import FILE, load_espnetv2
from .sets import HORSES, SETS, PhotographSet

TITLES = {
    "head": "Segmentator",
    "narrow": "network of its size",
    "network": f"`{NETWORK}`",
}
PHOTOGRAPHS: dict[str, PhotographSet] = {**SETS, "horses": HORSES}
AUTOENCODER, REFERENCE = "taef2", "espnetv2_voc"
LABELS = (30, 300)

Curves = Mapping[str, Sequence[Mapping[str, Any]]]  # by method, of each seed


def main(
    data: Annotated[Path, "the folder of the photographs"],
    work: Annotated[Path, "where curves are kept"],
    budget_s: float = 30.0,
    labels: Annotated[Sequence[int], "labelled images"] = LABELS,
    seeds: int = 3,
    held_out: int = 100,
    sets: Annotated[Sequence[str], "sets of photographs", PHOTOGRAPHS] = tuple(PHOTOGRAPHS),
) -> Report:
    """Make the curves that are missing."""
    work.mkdir(parents=True, exist_ok=True)
    rows: list[Sequence[object]] = []
    notes, pictures, ahead = [], [], []
    for name, images in product(sets, labels):
        job = Job(PHOTOGRAPHS[name], data, work, "", images, held_out, budget_s)
        curves = curves_of(job, name, seeds, data / AUTOENCODER)
        rows.append((name, images, *_cells(curves)))
        ahead.append((name, images, _is_ahead(curves)))
        if images == labels[-1]:
            notes.append(_note(name, curves))
            caption = f"mIoU against seconds, {name}"
            pictures.append(Picture(f"_{name}.svg", caption, partial(_draw, name, curves)))
    facts = [
        f"One thread, {budget_s:g} s for each training, {seeds} seeds, which choose the images too;"
        f" {held_out} held-out ones, shorter side {SIDE} px; batches of {HEAD_BATCH} for the head,"
        f" of {NETWORK_BATCH} for `{NETWORK}`.",
        "Seconds are of the process, without judging. mIoU is the mean over seeds, with the lowest"
        " and the highest.",
        "TAEF2 (madebyollin/taesd, MIT) was trained on photographs; it is data of this comparison"
        " and no part of the package.",
    ]
    sure = [name for name in sets if all(is_it for one, _, is_it in ahead if one == name)]
    some = [f"{name} ({images})" for name, images, is_it in ahead if is_it]
    verdict = (
        f"With every number of labels and every seed the head is ahead on {len(sure)} of"
        f" {len(sets)} sets ({', '.join(sure) or 'none'}); with some number of labels, by every"
        f" seed: {', '.join(some) or 'nowhere'}."
    )
    head = (
        "data",
        "labels",
        *TITLES.values(),
        "head less the network of its size",
        "steps",
        "inference, CPU ms",
    )
    lines = [*table(head, rows), "", verdict, "", *notes, *_reference(data, held_out, sets)]
    return Report("The Segmentator on photographs, at equal training time", facts, lines, pictures)


def curves_of(job: Job, name: str, seeds: int, autoencoder: Path) -> Curves:
    """Return the curves of a set, each made in a process of its own, as memory is measured."""
    curves: dict[str, list[Mapping[str, Any]]] = {method: [] for method in METHODS}
    for seed, (method, make) in product(range(seeds), METHODS.items()):
        own = f"{name}-{job.images}-{seed}"
        path = job.work / f"{own}-{method}.json"
        if not path.exists():
            one = replace(job, name=own, seed=seed, autoencoder=autoencoder)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                path.write_text(json.dumps(pool.submit(make, one).result(), indent=2), "utf-8")
            tell(f"{own}, {method}")
        curves[method].append(json.loads(path.read_bytes()))
    return curves


def _scores(curves: Curves, method: str) -> list[float]:
    """Return the mIoU at the end, by seed."""
    return [one["points"][-1][1] for one in curves[method]]


def _is_ahead(curves: Curves) -> bool:
    pairs = zip(_scores(curves, "head"), _scores(curves, "narrow"), strict=True)
    return all(head > narrow for head, narrow in pairs)


def _cells(curves: Curves) -> tuple[object, ...]:
    scores = [_scores(curves, method) for method in TITLES]
    gains = [head - narrow for head, narrow, _ in zip(*scores, strict=True)]
    return (
        *(f"{mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in scores),
        f"{mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})",
        ", ".join(f"{mean(one['steps'] for one in curves[method]):.0f}" for method in TITLES),
        ", ".join(
            f"{1000 * mean(one['inference_s'] for one in curves[method]):.0f}" for method in TITLES
        ),
    )


def _note(name: str, curves: Curves) -> str:
    head, *networks = (curves[method][0] for method in TITLES)
    sizes = " and ".join(f"{one['parameters']:,}" for one in networks)
    return (
        f"{name}: the autoencoder gives photographs back at {head['psnr_db']:.1f} dB; encoding took"
        f" {head['encoding_s']:.0f} s of the head's time, {head['views']} views of {head['images']}"
        f" images; {head['parameters']:,} parameters learn,"
        f" of the networks {sizes}."
    )


def _reference(data: Path, held_out: int, sets: Sequence[str]) -> list[str]:
    """Judge the network that others trained where its classes are the set's."""
    if not (data / REFERENCE / FILE).exists():
        return ["", "ESPNetv2: absent, as it was not given."]
    found = []
    for name in sets:
        one = PHOTOGRAPHS[name]
        if one.vocabulary != "voc":
            continue
        judged = opened(one, data, one.held_out, held_out)
        counted = [load_vocabulary("voc").class_ids.ids[name] for name in one.classes]
        found.append(f"{name} {miou(judged, load_espnetv2(data / REFERENCE, counted)):.3f}")
    return [
        "",
        "ESPNetv2 (sacmehta/EdgeNets, MIT), trained by others on all of VOC and COCO for as long as"
        f" it took, on the same held-out images: mIoU {', '.join(found) or 'of no set'}.",
    ]


def _draw(name: str, curves: Curves, path: Path) -> None:
    lines = {
        TITLES[method].replace("`", ""): of_seeds[0]["points"]
        for method, of_seeds in curves.items()
    }
    labels = "training, CPU seconds", "mIoU, held-out images"
    write_lines(path, f"{name}: learnt in the same time", labels, lines)
