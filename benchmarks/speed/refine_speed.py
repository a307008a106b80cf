"""What do refiners cost, and what do they mend? Time and IoU on renders with exact masks.

The attention of a model is imitated: the exact mask of a rendered object is blurred, moved by up
to 0.7 cells and reduced to a grid of 16x16, and the heat map is that grid enlarged. It is cut at
the 20 thresholds of DiffuMask (0.35 to 0.54), and each refiner gets the 20 candidates at once.
"official" is DiffuMask's procedure re-implemented: a mean field for each candidate alone, at full
resolution, that builds its own kernels (with 2 labels, and with the 21 of the released code).

Other programs on the machine lengthen wall time more than CPU time.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np
import torch

from benchmarks.report import Report, table, tell
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


def sweep(case: Case) -> float:
    """Find the threshold as `adaptive` does: refine all candidates, compare them with a mask."""
    return Adaptive(refiner="crf")(Evidence(case.image, case.heat, case.heat, "object"))


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
    costs["whole adaptive sweep, crf"] = timed(lambda: sweep(case), runs)
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


def quality_table(values: Mapping[str, list[float]]) -> list[str]:
    """Write mean IoU, gain over no refinement with its standard error, and the share mended."""
    base, rows = np.array(values["none"]), []
    for name, found in values.items():
        gain = np.array(found) - base
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        better = "" if name == "none" else f"{(gain > 0).mean():.0%}"
        rows.append((name, f"{np.mean(found):.3f}", f"{gain.mean():+.3f} ± {error:.3f}", better))
    return table(("refiner", "IoU", "gain", "images better"), rows)


def speed_table(costs: Mapping[str, Cost]) -> list[str]:
    """Write median times, and how often they go into the official procedure."""
    reference, rows = statistics.median(costs["official, 2 labels"].cpu), []
    for name, cost in costs.items():
        cpu, wall = statistics.median(cost.cpu), statistics.median(cost.wall)
        rows.append((name, f"{cpu:.4f}", f"{wall:.4f}", f"{reference / cpu:.1f}"))
    return table(("", "CPU s", "wall s", "official (2 labels) by this"), rows)


def main(
    n: Annotated[int, "images of 128 px; a quarter at 512 px"] = 20,
    runs: int = 9,
    slow_runs: Annotated[int, "of the official procedure"] = 1,
    sides: Sequence[int] = (128, 512),
) -> Report:
    """Measure at each size."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    lines = []
    for side_px in sides:
        some = list(cases(n if side_px < 256 else max(2, n // 4), side_px))
        lines += [f"## {side_px} x {side_px} px", "", f"{len(some)} images:", ""]
        lines += [*quality_table(qualities(some)), "", "One image:", ""]
        lines += [*speed_table(speeds(some[0], runs, slow_runs)), ""]
        tell(f"{side_px} px done")
    facts = [
        f"One thread for OpenCV and torch. {len(GAMMAS)} candidates an image; medians of {runs}",
        f"runs, of the official procedure {slow_runs}. IoU is the mean over the candidates, gain",
        "with its standard error over images. See the benchmark for what is imitated and compared.",
    ]
    return Report("Refiners: quality and speed", facts, lines[:-1])
