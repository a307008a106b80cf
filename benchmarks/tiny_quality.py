"""How good is `tiny`? What two judges see on its images, IoU of raw attention, seconds an image.

    python benchmarks/tiny_quality.py [--n 20] [--out tiny_quality.md] [--sheet tiny_sheet.jpg]

The oracle (benchmarks/oracle.py) says which pixels show which class, the classifier
(benchmarks/classifier.py) names the crop. Prompts, seeds and settings are those of
`diffumask generate`. The sheet shows the first eight images of every class, to look at.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from classifier import evaluate_classifier
from oracle import MIN_AREA, evaluate_oracle
from tiny_judges import (
    BATCH_SIZE,
    Judged,
    JudgedPair,
    autoencoder_psnr_db,
    distance_to_renders,
    judge,
    judge_pairs,
)

from diffumask.metrics import iou
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.vocabulary import load_vocabulary

THRESHOLDS = np.arange(0.10, 0.91, 0.02).round(2)
SHEET_COLUMNS = 8
One = TypeVar("One", Judged, JudgedPair)


def share_by_class(
    rows: Sequence[One], class_of: Callable[[One], str], holds: Callable[[One], bool]
) -> dict[str, float]:
    """Return the share of each class's images for which something holds."""
    per_class = defaultdict(list)
    for one in rows:
        per_class[class_of(one)].append(holds(one))
    return {name: statistics.mean(values) for name, values in per_class.items()}


def iou_by_class(judged: Sequence[Judged], threshold: float) -> dict[str, float]:
    """Return the mean IoU over the images of each class on which the class is present."""
    per_class = defaultdict(list)
    for one in judged:
        if one.is_present:
            per_class[one.class_name].append(iou(one.heat > threshold, one.truth))
    return {name: statistics.mean(values) for name, values in per_class.items()}


def sheet(judged: Sequence[Judged]) -> np.ndarray:
    """Lay out the first images of every class, a class a row, named at its left."""
    rows = defaultdict(list)
    for one in judged:
        rows[one.class_name].append(one.image)
    drawn = []
    for name, images in rows.items():
        label = np.full((images[0].shape[0], 110, 3), 255, np.uint8)
        cv2.putText(label, name, (4, 68), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        drawn.append(np.hstack([label, *images[:SHEET_COLUMNS]]))
    return np.vstack(drawn)


def report(
    judged: Sequence[Judged],
    pairs: Sequence[JudgedPair],
    spec: ModelSpec,
    judges: Mapping[str, float],
) -> str:
    """Write the figures as Markdown, each beside its goal."""
    present = share_by_class(judged, lambda one: one.class_name, lambda one: one.is_present)
    named = share_by_class(
        judged, lambda one: one.class_name, lambda one: one.named == one.class_name
    )
    curve = {t: statistics.mean(iou_by_class(judged, t).values()) for t in THRESHOLDS}
    best = max(curve, key=lambda threshold: curve[threshold])
    ious = iou_by_class(judged, best)
    worst = min(present, key=lambda name: present[name])
    with_sub_class = [one for one in judged if one.prompt.sub_class]
    figures = [
        *((name, f"{value:.3f}", "") for name, value in judges.items()),
        ("class present, mean", f"{statistics.mean(present.values()):.3f}", "0.98"),
        (f"class present, lowest ({worst})", f"{present[worst]:.3f}", "0.90"),
        ("classifier names the class", f"{statistics.mean(named.values()):.3f}", "0.85"),
        (
            "classifier names the sub-class",
            f"{_share(one.named_sub_class == one.prompt.sub_class for one in with_sub_class):.3f}",
            "0.70",
        ),
        ("two objects: both present", f"{_share(one.are_present for one in pairs):.3f}", "0.85"),
        ("two objects: and told apart", f"{_share(one.are_told_apart for one in pairs):.3f}", ""),
        ("Fréchet distance to renders", f"{distance_to_renders(judged):.2f}", ""),
        (f"mIoU of raw attention at {best:.2f}", f"{curve[best]:.3f}", ""),
        (
            f"s/image, median, batches of {BATCH_SIZE}",
            f"{statistics.median(one.seconds for one in judged):.2f}",
            "0.6",
        ),
    ]
    lines = [
        "# Quality of `tiny`",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{len(judged) // len(present)} images of each of {len(present)} classes, and",
        f"{len(pairs)} of two objects; {spec.num_inference_steps} steps, guidance",
        f"{spec.guidance_scale}; {os.cpu_count()} cores, torch {torch.__version__},",
        f"Python {platform.python_version()}.",
        "",
        "| figure | reached | goal |",
        "|---|---|---|",
        *(f"| {name} | {value} | {goal} |" for name, value, goal in figures),
        "",
        f"A class is present where the oracle sees it on at least {MIN_AREA:.0%} of the image; the",
        "classifier looks at the crop around all that the oracle takes for an object, and the",
        "Fréchet distance is that of its features from those of as many crops of renders. mIoU is",
        "the mean over classes of the mean IoU over the images where the class is present, with",
        "one threshold for all.",
        "",
        "| class | present | named | IoU |",
        "|---|---|---|---|",
        *(
            f"| {name} | {present[name]:.2f} | {named[name]:.2f} | {ious.get(name, 0):.3f} |"
            for name in present
        ),
        "",
        "| threshold | mIoU |",
        "|---|---|",
        *(f"| {threshold:.2f} | {value:.3f} |" for threshold, value in curve.items()),
    ]
    return "\n".join(lines) + "\n"


def _share(values) -> float:
    return statistics.mean(map(bool, values))


def main() -> None:
    """Measure and print, and write the report and the sheet where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=20, help="images per class")
    parser.add_argument("--pairs", type=int, default=8, help="two-object images per class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    spec, vocabulary = resolve(arguments.model), load_vocabulary("tiny")
    pipe = load(spec)
    judged = list(judge(pipe, spec, vocabulary, arguments.n, arguments.seed))
    pairs = list(judge_pairs(pipe, spec, vocabulary, arguments.pairs, arguments.seed))
    judges = {"autoencoder, PSNR of unseen renders in dB (goal 32)": autoencoder_psnr_db(pipe.vae)}
    judges |= {f"oracle mIoU, {name}": value for name, value in evaluate_oracle().items()}
    judges |= {f"classifier, {name}": value for name, value in evaluate_classifier().items()}
    text = report(judged, pairs, spec, judges)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), sheet(judged)[..., ::-1])


if __name__ == "__main__":
    main()
