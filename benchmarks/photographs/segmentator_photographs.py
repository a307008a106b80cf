"""Does a Segmentator learn photographs faster than a segmentation network trained from nothing?

--data holds oxford_pets_subset/, voc2012_animals/ and camvid/, each with images/, masks/ and
labels.csv. A head on the VAE of `tiny` and `upernet-tiny` get the same images in the same size and
the same seconds, in a process of their own; the seconds of the head count its encoding. The claim
of the source (deepsense.ai, 2023) is that it "significantly reduces training time" for "similar
outputs". Curves that stand in --work are not made again.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

from benchmarks.charts import write_lines
from benchmarks.report import Picture, Report, table

from .curves import HEAD_BATCH, METHODS, NETWORK, NETWORK_BATCH, SIDE, Job
from .sets import SETS

TITLES = {"head": "Segmentator on the VAE of `tiny`", "network": f"`{NETWORK}`"}
HEAD = (
    "data",
    "trained",
    "steps",
    "CPU s",
    "mIoU at each quarter of the time",
    "inference, CPU ms",
    "peak memory, MiB",
)


def main(
    data: Annotated[Path, "the folder of the photographs"],
    work: Annotated[Path, "where curves are kept"],
    budget_s: float = 60.0,
    images: int = 300,
    held_out: int = 60,
    sets: Annotated[Sequence[str], "folders of photographs", SETS] = tuple(SETS),
) -> Report:
    """Make the curves that are missing."""
    work.mkdir(parents=True, exist_ok=True)
    rows: list[Sequence[object]] = []
    notes, pictures = [], []
    for name in sets:
        curves = curves_of(Job(data, work, name, images, held_out, budget_s))
        rows += [(name, *_cells(method, one)) for method, one in curves.items()]
        head = curves["head"]
        notes.append(
            f"{name}: the VAE gives photographs back at {head['psnr_db']:.1f} dB, and"
            f" encoding took {head['encoding_s']:.0f} s of the head's time."
        )
        caption = f"mIoU against seconds, {name}"
        pictures.append(Picture(f"_{name}.svg", caption, partial(_draw, name, curves)))
    facts = [
        f"One thread. At most {images} training images and {held_out} held-out ones, shorter side",
        f"{SIDE} px; batches of {HEAD_BATCH} for the head, of {NETWORK_BATCH} for `{NETWORK}`.",
        "Seconds are of the process, without judging. The VAE has seen renders alone.",
    ]
    title = "The Segmentator on photographs, at equal training time"
    return Report(title, facts, [*table(HEAD, rows), "", *notes], pictures)


def curves_of(job: Job) -> dict[str, Any]:
    """Return the curves of a set, made in a process of their own, as memory is measured."""
    curves = {}
    for method, make in METHODS.items():
        path = job.work / f"{job.name}-{method}.json"
        if not path.exists():
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                path.write_text(json.dumps(pool.submit(make, job).result(), indent=2), "utf-8")
        curves[method] = json.loads(path.read_bytes())
    return curves


def _cells(method: str, row: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        TITLES[method],
        row["steps"],
        f"{row['points'][-1][0]:.0f}",
        ", ".join(f"{value:.3f}" for _, value in row["points"]),
        f"{1000 * row['inference_s']:.0f}",
        f"{row['peak_mib']:.0f}",
    )


def _draw(name: str, curves: Mapping[str, Any], path: Path) -> None:
    lines = {TITLES[method].replace("`", ""): row["points"] for method, row in curves.items()}
    labels = "training, CPU seconds", "mIoU, held-out images"
    write_lines(path, f"{name}: learnt in the same time", labels, lines)
