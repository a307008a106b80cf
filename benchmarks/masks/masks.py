"""Which part of making masks does what? All ways on the same images, with intervals, and peers.

Images of `tiny` are judged by an oracle; renders that `tiny` only observes
(diffumask/sampling/observe.py) by their exact masks. Both are kept in --work with their attention:
a second run goes on where the first stopped, and makes all masks again without sampling.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image as PillowImage

from benchmarks.report import Picture, Report, tell
from diffumask.draw import contact_sheet, heat_overlay, overlay
from diffumask.masks.class_map import MaskSettings, enlarge, make_class_map
from diffumask.metrics import iou
from diffumask.models import resolve
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.proof.estimates import by_class, estimate

from .methods import DEFAULT, Job, Judged, judge
from .samples import GENERATED, RENDERS, Item, Plan, gather
from .tables import CHEATS, ablation_tables, classes_table, goals_table, peers_table

WORST = 20
TITLES = {
    GENERATED: "Generated images, truth by the oracle",
    RENDERS: "Renders observed by the model, exact truth",
}


def judge_all(
    items: Sequence[Item], refiner_n: int, affinity_net: Path | None, workers: int
) -> list[Judged]:
    """Judge items on several processes; the first `refiner_n` of a class in every way."""
    seen: Counter[str] = Counter()
    jobs = []
    for item in items:
        seen[item.class_name] += 1
        jobs.append(Job(item, seen[item.class_name] <= refiner_n, affinity_net))
    judged = []
    # Spawned: a fork of a process that has run torch may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for done, one in enumerate(pool.map(judge, jobs, chunksize=4), start=1):
            judged.append(one)
            if done % 50 == 0:
                tell(f"{done}/{len(jobs)} judged")
    return judged


def draw_worst(items: Sequence[Item], judged: Sequence[Judged], path: Path) -> None:
    """Draw the items that the default masks worst: image, heat, our mask, truth."""
    order = np.argsort([one.figures[DEFAULT].iou for one in judged], kind="stable")[:WORST]
    groups = []
    for item in (items[i] for i in order):
        size_hw = (item.image.shape[0], item.image.shape[1])
        class_id = item.prompt.targets[0].class_id
        ours = make_class_map(item.sample, MaskSettings()).class_map
        truth = np.where(item.truth, class_id, 0).astype(np.uint8)
        heat = heat_overlay(item.image, enlarge(item.heat, size_hw))
        groups.append([item.image, heat, overlay(item.image, ours), overlay(item.image, truth)])
    PillowImage.fromarray(contact_sheet(groups, 2)).save(path, quality=90)


def oracle_error(renders: Sequence[Item]) -> tuple[str, Mapping[str, float]]:
    """Return the mIoU of the oracle on the renders, as it is defined for masks, and by class."""
    values = np.array([iou(one.oracle, one.truth) for one in renders])
    classes = [one.class_name for one in renders]
    return str(estimate(values, classes, seed=0)), by_class(values, classes)


def main(
    model: str = "tiny",
    n: Annotated[int, "images per class"] = 50,
    renders: Annotated[int, "renders per class"] = 20,
    refiner_n: Annotated[int, "items per class for every way"] = 4,
    affinity_net: Annotated[Path | None, "folder of diffumask affinity train"] = None,
    seed: int = 0,
    work: Annotated[Path, "where items are kept"] = Path("build/masks"),
    workers: int = os.cpu_count() or 1,
) -> Report:
    """Make and judge all masks; the pictures are sheets of the worst."""
    plan = Plan(resolve(model), load_vocabulary("tiny"), n, renders, seed)
    gathered = gather(plan, work)
    present = {kind: [one for one in items if one.present] for kind, items in gathered.items()}
    judged = {
        kind: judge_all(items, refiner_n, affinity_net, workers) for kind, items in present.items()
    }
    kinds = [kind for kind in TITLES if judged[kind]]
    absent: dict[str, int] = defaultdict(int)
    for one in gathered[GENERATED]:
        absent[one.class_name] += not one.present
    oracle, oracle_by_class = oracle_error(present[RENDERS]) if present[RENDERS] else ("", {})
    lines = []
    for kind in kinds:
        lines += [f"## {TITLES[kind]}", "", *goals_table(judged[kind])]
        lines += ["", *peers_table(judged[kind]), ""]
    lines += ["## By class", "", *classes_table(judged, absent, oracle_by_class)]
    for kind in kinds:
        lines += ["", f"## All ways: {TITLES[kind].lower()}", *ablation_tables(judged[kind])]
    sheets = [
        Picture(suffix, f"Masked worst: {kind}", partial(draw_worst, present[kind], judged[kind]))
        for kind, suffix in ((GENERATED, "_worst.jpg"), (RENDERS, "_worst_renders.jpg"))
        if kind in kinds
    ]
    facts = [
        f"{len(present[GENERATED])} generated images that show their class by the oracle, of"
        f" {len(gathered[GENERATED])}, and {len(present[RENDERS])} renders, of {len(absent)}"
        " classes.",
        *explanation(),
        f"The oracle's own mIoU on the renders, the same figure: {oracle}.",
    ]
    return Report("Masks, and which part does what", facts, lines, sheets)


def explanation() -> list[str]:
    """Say what the figures are."""
    settings = MaskSettings()
    return [
        f"Our default: heat of {settings.heat}, threshold {settings.threshold.describe()}, refiner",
        f"{settings.refiner}, uncertain band {settings.uncertain_band:g}; judged with every pixel",
        "labelled but where said.",
        "mIoU is the mean over classes of the mean IoU over the items where the class is present",
        "by the truth; boundary F likewise, within 0.75 % of the diagonal. In brackets 95 %",
        "intervals of a bootstrap over the items of each class; differences are paired.",
        f"{CHEATS} chose its threshold by the truth: the best fixed one on the same items, a",
        "calibrated one on the other half of its class. Calibration on an affinity needs no truth.",
    ]
