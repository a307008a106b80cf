"""How long does it take to compare as many masks as VOC's validation set has?

The masks are synthetic: one to four ellipses of the twenty classes with a border of 255, on
500x375 or 375x500 pixels; predictions are the same, moved by a few pixels and with noise. Writing
them is not timed. The whole command runs, from start to report, in a process of its own.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image as PillowImage

from benchmarks.commands import diffumask
from benchmarks.report import Report, middle, table
from diffumask.dataset.encode import encode_class_map
from diffumask.types import IGNORE_ID, ClassMap

SIZES_HW = ((375, 500), (375, 500), (500, 375))
N_CLASSES, MOST_OBJECTS, BORDER_PX, MOST_MOVED_PX = 20, 4, 5, 8
GOAL_S = 30


def draw(rng: np.random.Generator) -> ClassMap:
    """Draw ellipses, each with a border of 255."""
    height, width = SIZES_HW[rng.integers(len(SIZES_HW))]
    drawn = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, MOST_OBJECTS + 1)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = tuple(int(axis) for axis in rng.integers(20, 150, 2))
        angle, class_id = float(rng.uniform(0, 180)), int(rng.integers(1, N_CLASSES + 1))
        cv2.ellipse(drawn, centre, axes, angle, 0, 360, class_id, -1)
        cv2.ellipse(drawn, centre, axes, angle, 0, 360, IGNORE_ID, BORDER_PX)
    return drawn


def predict(truth: ClassMap, rng: np.random.Generator) -> ClassMap:
    """Move the objects without their border, and turn blocks of pixels to another class."""
    moved = np.roll(truth, rng.integers(-MOST_MOVED_PX, MOST_MOVED_PX + 1, 2), axis=(0, 1))
    moved[moved == IGNORE_ID] = 0
    top, left = rng.integers(300, size=2)
    moved[top : top + 40, left : left + 60] = rng.integers(N_CLASSES + 1)
    return moved


def write(folder: Path, n: int) -> None:
    """Write a folder in the layout of VOC, and predictions beside it; all images are black."""
    rng = np.random.default_rng(0)
    for name in ("JPEGImages", "SegmentationClass", "predictions"):
        (folder / name).mkdir()
    for index in range(n):
        truth = draw(rng)
        PillowImage.new("RGB", truth.shape[::-1]).save(folder / "JPEGImages" / f"{index:06d}.jpg")
        for name, class_map in (("SegmentationClass", truth), ("predictions", predict(truth, rng))):
            (folder / name / f"{index:06d}.png").write_bytes(encode_class_map(class_map))


def main(n: int = 1449, workers: Sequence[int] = (1, 2), runs: int = 3) -> Report:
    """Measure the command with each number of processes."""
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, n)
        words = ["--data", folder, "--predictions", folder / "predictions"]
        words += ["-o", folder / "report.json"]
        for count in workers:
            spent = [diffumask("evaluate", *words, "--workers", count)[0] for _ in range(runs)]
            seconds = [one.wall_s for one in spent]
            report = json.loads((folder / "report.json").read_bytes())
            rate = f"{n / statistics.median(seconds):.0f}"
            rows.append((count, middle(seconds, 1), rate, f"{100 * report['miou']:.1f}"))
    facts = [
        f"{n} synthetic masks of 500x375 pixels and as many predictions, from the start of the",
        f"command to its report: IoU, confusion, boundary F; median (range) of {runs} runs.",
        f"Goal: {GOAL_S} s on two cores.",
    ]
    lines = table(("processes", "seconds", "masks a second", "mIoU, %"), rows)
    return Report("Speed of `diffumask evaluate`", facts, lines)
