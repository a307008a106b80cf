"""What do refiners cost, and what do they mend? Time and IoU on renders with exact masks.

    OMP_NUM_THREADS=1 python benchmarks/refine_speed.py [--n 20] [--out FILE.md]

The attention of a model is imitated: the exact mask of a rendered object is blurred, moved by up
to 0.7 cells and reduced to a grid of 16x16, and the heat map is that grid enlarged. It is cut at
the 20 thresholds of DiffuMask (0.35 to 0.54), and each refiner gets the 20 candidates at once.
"official" is DiffuMask's procedure re-implemented: a mean field for each candidate alone, at full
resolution, that builds its own kernels (with 2 labels, and with the 21 of the released code).

Other programs on the machine lengthen wall time more than CPU time.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import scipy
import torch

from diffumask.masks.refine import REFINERS, Refiner, from_labels
from diffumask.masks.refine.crf import CrfSettings, crf
from diffumask.masks.thresholds import GAMMAS, Adaptive, Evidence
from diffumask.metrics import iou
from diffumask.scenes import render_scene
from diffumask.types import Heat, Image, Mask

ODDS = 20  # of the released code
GRID = 16
LARGEST_SHIFT = 0.7  # grid cells
LEAST_AREA = 0.02  # of the image; smaller objects are left out
FULL = replace(CrfSettings(), shrink=1.0)


@dataclass(frozen=True, slots=True)
class Case:
    """An image, the exact mask of an object and the imitated attention to it."""

    image: Image
    truth: Mask
    heat: Heat


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the runs of one refiner on one image."""

    cpu: list[float]
    wall: list[float]


def imitate_attention(truth: Mask, rng: np.random.Generator) -> Heat:
    """Blur, shift and coarsen a mask, and enlarge it again."""
    h, w = truth.shape
    blurred = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), min(h, w) / 32)
    coarse = cv2.resize(blurred, (GRID, GRID), interpolation=cv2.INTER_AREA)
    shift = np.eye(2, 3, dtype=np.float32)
    shift[:, 2] = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2)
    moved = cv2.warpAffine(coarse, shift, (GRID, GRID), borderMode=cv2.BORDER_REPLICATE)
    heat = np.maximum(cv2.resize(moved, (w, h), interpolation=cv2.INTER_CUBIC), 0)
    return heat / heat.max()


def cases(n: int, side_px: int) -> Iterator[Case]:
    """Render `n` scenes of the test split, each with the first of its objects."""
    seed = 0
    while n:
        scene = render_scene(seed, (side_px, side_px), split="test")
        truth = scene.objects[0].mask
        if truth.mean() >= LEAST_AREA:
            yield Case(scene.image, truth, imitate_attention(truth, np.random.default_rng(seed)))
            n -= 1
        seed += 1


def candidates(case: Case) -> np.ndarray:
    """Cut the heat map at every threshold."""
    return (case.heat > np.array(GAMMAS, np.float32)[:, None, None]).astype(np.uint8)


def official(case: Case, labels: int) -> np.ndarray:
    """Refine the candidates one by one at full resolution."""
    confidence = ODDS / (ODDS + labels - 1)
    planes = [from_labels(one[None], labels, confidence) for one in candidates(case)]
    return np.concatenate([crf(case.image, plane, FULL)[:, :2] for plane in planes])


def at_once(refiner: Refiner, case: Case) -> np.ndarray:
    """Refine all candidates in one call."""
    return refiner(case.image, from_labels(candidates(case), 2, ODDS / (ODDS + 1)))


def sweep(case: Case, refiner: str) -> float:
    """Find the threshold as `adaptive` does: refine all candidates, compare them with a mask."""
    return Adaptive(refiner=refiner)(Evidence(case.image, case.heat, case.heat, "object"))


def timed(work: Callable[[], object], runs: int) -> Cost:
    """Run `runs` times, after once to warm up unless that is all."""
    if runs > 1:
        work()
    cost = Cost([], [])
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        cost.cpu.append(time.process_time() - cpu)
        cost.wall.append(time.perf_counter() - wall)
    return cost


def speeds(case: Case, runs: int, slow_runs: int) -> dict[str, Cost]:
    """Time every refiner, the whole sweep, and the official procedure."""
    costs = {
        name: timed(lambda refiner=refiner: at_once(refiner, case), runs)
        for name, refiner in REFINERS.items()
    }
    costs["crf, full grid"] = timed(lambda: crf_full(case), max(1, runs // 3))
    costs["whole adaptive sweep, crf"] = timed(lambda: sweep(case, "crf"), runs)
    for labels in (2, 21):
        costs[f"official, {labels} labels"] = timed(lambda n=labels: official(case, n), slow_runs)
    return costs


def crf_full(case: Case) -> np.ndarray:
    """Run the mean field of all candidates at full resolution."""
    return at_once(lambda image, planes: crf(image, planes, FULL), case)


def qualities(some: list[Case]) -> dict[str, list[float]]:
    """Return for each refiner the mean IoU of each image's refined candidates with the truth."""
    methods: dict[str, Callable[[Case], np.ndarray]] = {
        name: lambda case, refiner=refiner: at_once(refiner, case)
        for name, refiner in REFINERS.items()
    }
    methods["crf, full grid"] = crf_full
    return {
        name: [
            statistics.mean(iou(planes[1] > 0.5, case.truth) for planes in method(case))
            for case in some
        ]
        for name, method in methods.items()
    }


def quality_rows(values: dict[str, list[float]]) -> list[str]:
    """Write mean IoU, gain over no refinement with its standard error, and the share mended."""
    rows = ["| refiner | IoU | gain | images better |", "|---|---|---|---|"]
    base = np.array(values["none"])
    for name, found in values.items():
        gain = np.array(found) - base
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        better = "" if name == "none" else f"{(gain > 0).mean():.0%}"
        rows.append(
            f"| {name} | {np.mean(found):.3f} | {gain.mean():+.3f} ± {error:.3f} | {better} |"
        )
    return rows


def speed_rows(costs: dict[str, Cost]) -> list[str]:
    """Write median times, and how often they go into the official procedure."""
    rows = ["| | CPU s | wall s | official (2 labels) by this |", "|---|---|---|---|"]
    reference = statistics.median(costs["official, 2 labels"].cpu)
    for name, cost in costs.items():
        cpu, wall = statistics.median(cost.cpu), statistics.median(cost.wall)
        rows.append(f"| {name} | {cpu:.4f} | {wall:.4f} | {reference / cpu:.1f} |")
    return rows


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=20, help="images of 128 px; a quarter at 512 px")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--slow-runs", type=int, default=1, help="of the official procedure")
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    lines = [
        "# Refiners: quality and speed",
        "",
        f"Command: `OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python"
        f" {shlex.join(sys.argv)}`.",
        f"{os.cpu_count()} cores, one thread for OpenCV and torch; numpy {np.__version__},",
        f"scipy {scipy.__version__}, OpenCV {cv2.__version__}, torch {torch.__version__},"
        f" Python {platform.python_version()}.",
        f"{len(GAMMAS)} candidates an image; medians of {arguments.runs} runs, of the official",
        f"procedure {arguments.slow_runs}. IoU is the mean over the candidates, gain with its",
        "standard error over images. See the script for what is imitated and compared.",
    ]
    for side_px in arguments.sides:
        some = list(cases(arguments.n if side_px < 256 else max(2, arguments.n // 4), side_px))
        lines += ["", f"## {side_px} x {side_px} px", "", f"{len(some)} images:", ""]
        lines += quality_rows(qualities(some))
        lines += ["", "One image:", ""]
        lines += speed_rows(speeds(some[0], arguments.runs, arguments.slow_runs))
        print(f"{side_px} px done", file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
