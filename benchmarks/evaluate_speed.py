"""How long does it take to compare as many masks as VOC's validation set has?

    python benchmarks/evaluate_speed.py [--n 1449] [--workers 2]
        [--out benchmarks/results/evaluate_speed.md]

The masks are synthetic: one to four ellipses of the twenty classes with a border of 255, on
500x375 or 375x500 pixels; predictions are the same, moved by a few pixels and with noise. Writing
them is not timed. The whole command runs, from start to report, in a process of its own.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image as PillowImage

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
        for name, class_map in (
            ("SegmentationClass", truth),
            ("predictions", predict(truth, rng)),
        ):
            (folder / name / f"{index:06d}.png").write_bytes(encode_class_map(class_map))


def timed(folder: Path, workers: int) -> tuple[float, str]:
    """Run the command; return its seconds and the mean IoU that it prints."""
    words = [
        "--data",
        folder,
        "--predictions",
        folder / "predictions",
        "-o",
        folder / "report.json",
    ]
    command = [sys.executable, "-m", "diffumask.cli", "evaluate", *map(str, words)]
    started = time.perf_counter()
    done = subprocess.run([*command, "--workers", str(workers)], stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - started
    found = re.search(r"^mean +(\S+)$", done.stdout.decode(), re.MULTILINE)
    return seconds, found.group(1) if found else "?"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1449)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    command = "python benchmarks/evaluate_speed.py " + shlex.join(sys.argv[1:])
    lines = [
        "# Speed of `diffumask evaluate`",
        "",
        f"Command: `{command.strip()}`.",
        f"{arguments.n} synthetic masks of 500x375 pixels and as many predictions, from the start",
        "of the command to its report: IoU, confusion, boundary F; median (range) of "
        f"{arguments.runs} runs.",
        f"{os.cpu_count()} cores, numpy {np.__version__}, OpenCV {cv2.__version__}, "
        f"Python {platform.python_version()}. Goal: {GOAL_S} s on two cores.",
        "",
        "| processes | seconds | masks a second | mIoU, % |",
        "|---|---|---|---|",
    ]
    with TemporaryDirectory() as folder:
        write(Path(folder), arguments.n)
        for workers in arguments.workers:
            runs = [timed(Path(folder), workers) for _ in range(arguments.runs)]
            taken = sorted(seconds for seconds, _ in runs)
            middle = taken[len(taken) // 2]
            spread = f"{middle:.1f} ({taken[0]:.1f} to {taken[-1]:.1f})"
            lines.append(f"| {workers} | {spread} | {arguments.n / middle:.0f} | {runs[0][1]} |")
    page = "\n".join(lines) + "\n"
    print(page)
    if arguments.out:
        arguments.out.write_text(page)


if __name__ == "__main__":
    main()
