"""Which part of making masks does what? All ways on the same images, with intervals, and peers.

    python benchmarks/masks.py --work DIR [--n 50] [--renders 20] [--affinity-net DIR] \\
        [--out benchmarks/results/masks.md]

Images of `tiny` are judged by an oracle (benchmarks/oracle.py); renders that `tiny` only observes
(diffumask/observe.py) by their exact masks. Both are kept in DIR with their attention: a second
run goes on where the first stopped, and makes all masks again without sampling.
"""

import argparse
import os
import platform
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from mask_methods import DEFAULT, Job, Judged, judge
from mask_report import CHEATS, ablation_tables, classes_table, goals_table, peers_table
from mask_samples import GENERATED, RENDERS, Item, Plan, gather
from mask_statistics import by_class, estimate
from PIL import Image as PillowImage

from diffumask.draw import contact_sheet, heat_overlay, overlay
from diffumask.masks.class_map import MaskSettings, enlarge, make_class_map
from diffumask.metrics import iou
from diffumask.models import resolve
from diffumask.prompts.vocabulary import load_vocabulary

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
                print(f"{done}/{len(jobs)} judged", file=sys.stderr, flush=True)
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


def report(
    gathered: Mapping[str, Sequence[Item]],
    judged: Mapping[str, Sequence[Judged]],
    present: Mapping[str, Sequence[Item]],
) -> str:
    """Write all tables as Markdown."""
    oracle, oracle_by_class = oracle_error(present[RENDERS]) if present[RENDERS] else ("", {})
    absent: dict[str, int] = defaultdict(int)
    for one in gathered[GENERATED]:
        absent[one.class_name] += not one.present
    settings = MaskSettings()
    lines = [
        "# Masks, and which part does what",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{len(present[GENERATED])} generated images that show their class by the oracle, of",
        f"{len(gathered[GENERATED])}, and {len(present[RENDERS])} renders, of"
        f" {len(set(absent))} classes; {os.cpu_count()} cores,",
        f"torch {torch.__version__}, Python {platform.python_version()}.",
        "",
        f"Our default: heat of {settings.heat}, threshold {settings.threshold.describe()}, refiner",
        f"{settings.refiner}, uncertain band {settings.uncertain_band:g}; judged with every pixel",
        "labelled but where said.",
        "mIoU is the mean over classes of the mean IoU over the items where the class is present",
        "by the truth; boundary F likewise, within 0.75 % of the diagonal. In brackets 95 %",
        "intervals of a bootstrap over the items of each class; differences are paired.",
        f"{CHEATS} chose its threshold by the truth: the best fixed one on the same items, a",
        "calibrated one on the other half of its class. Calibration on an affinity needs no truth.",
        "",
        f"The oracle's own mIoU on the renders, the same figure: {oracle}.",
    ]
    for kind in (kind for kind in TITLES if judged[kind]):
        lines += ["", f"## {TITLES[kind]}", "", *goals_table(judged[kind])]
        lines += ["", *peers_table(judged[kind])]
    lines += ["", "## By class", "", *classes_table(judged, absent, oracle_by_class)]
    for kind in (kind for kind in TITLES if judged[kind]):
        lines += ["", f"## All ways: {TITLES[kind].lower()}", *ablation_tables(judged[kind])]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print, and write the report and the sheets of the worst where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=50, help="images per class")
    parser.add_argument("--renders", type=int, default=20, help="renders per class")
    parser.add_argument("--refiner-n", type=int, default=4, help="items per class for every way")
    parser.add_argument("--affinity-net", type=Path, help="folder of diffumask affinity train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/masks"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    plan = Plan(resolve(args.model), load_vocabulary("tiny"), args.n, args.renders, args.seed)
    gathered = gather(plan, args.work)
    present = {kind: [one for one in items if one.present] for kind, items in gathered.items()}
    judged = {
        kind: judge_all(items, args.refiner_n, args.affinity_net, args.workers)
        for kind, items in present.items()
    }
    text = report(gathered, judged, present)
    print(text)
    if args.out:
        args.out.write_text(text, "utf-8")
        for kind, suffix in ((GENERATED, ""), (RENDERS, "_renders")):
            path = args.out.with_name(f"{args.out.stem}_worst{suffix}.jpg")
            if judged[kind]:
                draw_worst(present[kind], judged[kind], path)


if __name__ == "__main__":
    main()
