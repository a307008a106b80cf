"""How good is `tiny`? What two judges see on its images, IoU of raw attention, seconds an image.

The oracle says which pixels show which class, the classifier names the crop. Prompts, seeds and
settings are those of `diffumask generate`. The sheet shows the first eight images of every class,
to look at.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import cv2
import numpy as np

from benchmarks.judges.judges import judges
from benchmarks.judges.oracle import MIN_AREA
from benchmarks.report import Report, fields, table
from benchmarks.sampling import BATCH_SIZE
from diffumask.metrics import iou
from diffumask.models import load, resolve
from diffumask.prompts.vocabulary import load_vocabulary

from .looks import Judged, JudgedPair, autoencoder_psnr_db, distance_to_renders, judge, judge_pairs

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


def sheet_of(judged: Sequence[Judged]) -> np.ndarray:
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


def tables(
    judged: Sequence[Judged], pairs: Sequence[JudgedPair], others: Mapping[str, float]
) -> list[str]:
    """Write the figures, each beside its goal."""
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
        *((name, f"{value:.3f}", "") for name, value in others.items()),
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
    by_class = [
        (name, f"{present[name]:.2f}", f"{named[name]:.2f}", f"{ious.get(name, 0):.3f}")
        for name in present
    ]
    curve_rows = {f"{threshold:.2f}": f"{value:.3f}" for threshold, value in curve.items()}
    return [
        *table(("figure", "reached", "goal"), figures),
        "",
        f"A class is present where the oracle sees it on at least {MIN_AREA:.0%} of the image; the",
        "classifier looks at the crop around all that the oracle takes for an object, and the",
        "Fréchet distance is that of its features from those of as many crops of renders. mIoU is",
        "the mean over classes of the mean IoU over the images where the class is present, with",
        "one threshold for all.",
        "",
        *table(("class", "present", "named", "IoU"), by_class),
        "",
        *fields(curve_rows, ("threshold", "mIoU")),
    ]


def _share(values: Iterable[bool]) -> float:
    return statistics.mean(map(bool, values))


def main(
    model: str = "tiny",
    n: Annotated[int, "images per class"] = 20,
    pairs: Annotated[int, "two-object images per class"] = 8,
    seed: int = 0,
    sheet: Annotated[Path | None, "where pictures of all classes are written (.jpg)"] = None,
) -> Report:
    """Generate, judge and report."""
    spec, vocabulary = resolve(model), load_vocabulary("tiny")
    pipe = load(spec)
    of_one = list(judge(pipe, spec, vocabulary, n, seed))
    of_two = list(judge_pairs(pipe, spec, vocabulary, pairs, seed))
    own = {"autoencoder, PSNR of unseen renders in dB (goal 32)": autoencoder_psnr_db(pipe.vae)}
    if sheet:
        cv2.imwrite(str(sheet), sheet_of(of_one)[..., ::-1])
    facts = [
        f"{n} images of each of {len(vocabulary.classes)} classes, and {len(of_two)} of two"
        f" objects; {spec.num_inference_steps} steps, guidance {spec.guidance_scale}."
    ]
    return Report("Quality of `tiny`", facts, tables(of_one, of_two, own | judges()))
