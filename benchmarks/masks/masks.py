"""What masks are worth that attention makes, beside those that need no text, and beside peers.

Scenes of one to three objects, some named and some asked, on plain, near, busy and photographed
grounds; `tiny` observes them, and makes some images itself, which an oracle judges. Classes and
seeds are split once (split.toml): what is fitted is fitted on dev by
`python -m benchmarks fit_masks`. Items are kept in --work with their attention: a second run goes
on where the first stopped, and makes all masks again without the model.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image as PillowImage

from benchmarks.report import Picture, Report
from diffumask.draw import contact_sheet, display_palette, heat_overlay, overlay
from diffumask.masks.class_map import make_class_map
from diffumask.masks.enlarge import enlarge
from diffumask.masks.settings import MaskSettings
from diffumask.models import resolve
from diffumask.proof.estimates import estimate
from diffumask.types import IGNORE_ID

from .fitted import FITTED, read_fitted
from .items import read
from .judge import Judged, judge_all
from .methods import OURS
from .samples import Plan, gather
from .scenes import KINDS, chosen_kinds, load_split
from .tables import (
    absent_table,
    classes_of,
    fitted_table,
    kind_tables,
    kinds_of,
    present,
    steps_table,
    summary_table,
)

WORST = 20


def draw_worst(judged: Sequence[Judged], path: Path) -> None:
    """Draw the items that we mask worst: image, heat, our mask, truth."""
    groups = []
    for one in sorted(judged, key=lambda one: one.rows[OURS]["iou"])[:WORST]:
        item = read(one.path)[one.index]
        sample = item.sample(item.right)
        ours = make_class_map(sample, MaskSettings()).class_map
        heat = enlarge(sample.heats[item.right.prompt.targets[0].word], item.truth.shape)
        seen = heat_overlay(item.image, heat)
        palette = display_palette(range(1, IGNORE_ID))
        drawn = [overlay(item.image, class_map, palette) for class_map in (ours, item.truth)]
        groups.append([item.image, seen, *drawn])
    PillowImage.fromarray(contact_sheet(groups, 2)).save(path, quality=90)


def main(
    model: str = "tiny",
    split: Annotated[str, "side of the split", ["dev", "test"]] = "test",
    n: Annotated[int, "items per class and kind"] = 20,
    kinds: Annotated[Sequence[str], "of scenes; all that can be drawn"] = (),
    classes: Annotated[Sequence[str], "that are asked; all of the split"] = (),
    photographs: Annotated[Sequence[Path], "folders of photographs for grounds"] = (),
    affinity_net: Annotated[Path | None, "folder of diffumask affinity train"] = None,
    work: Annotated[Path, "where items are kept"] = Path("build/masks"),
    workers: int = os.cpu_count() or 1,
    fitted: Annotated[Path, "what was fitted on dev"] = FITTED,
) -> Report:
    """Make and judge all masks; the picture is a sheet of the worst."""
    chosen = chosen_kinds(kinds, photographs)
    plan = Plan(resolve(model), load_split(split), chosen, n, photographs, classes)
    files = gather(plan, work)
    of_dev = read_fitted(fitted)
    judged = judge_all(files, of_dev, affinity_net, workers)
    lines = ["## What text earns", "", *summary_table(judged)]
    lines += ["", "## Objects that are not in the picture", "", *absent_table(judged)]
    lines += ["", "## What each step is worth", "", *steps_table(judged)]
    lines += ["", "## What was fitted", "", *fitted_table(of_dev)]
    for kind in kinds_of(judged):
        of_kind = present(judged, kind)
        lines += ["", f"## Scenes: {KINDS[kind].title} ({len(of_kind)} items)", ""]
        lines += kind_tables(of_kind)
    shown = [one for one in judged if one.present]
    facts = [
        f"{len(shown)} items that show their object, of {len(judged)}, of the classes of {split}.",
        *explanation(),
        *oracle_fact([one for one in shown if one.kind == "one"]),
    ]
    sheet = Picture("_worst.jpg", "What we mask worst", partial(draw_worst, shown))
    return Report("Masks, and what text earns of them", facts, lines, [sheet])


def oracle_fact(renders: Sequence[Judged]) -> list[str]:
    """Say how well the oracle sees one object whose truth is exact, which bounds its judgement."""
    if not renders:
        return []
    values = np.array([one.oracle for one in renders])
    own = estimate(values, classes_of(renders))
    return [f"The oracle's own IoU on the scenes of one object: {own}."]


def explanation() -> list[str]:
    """Say what the figures are."""
    return [
        "All figures are means over classes; in brackets 95 % intervals of a bootstrap that draws",
        "classes and then items of each; differences are paired. IoU by image is the mean of the",
        "items, by data set that of the pixels of a class together; a pixel labelled 255 is",
        "wrong, or left out where said. Boundary F is within 0.75 % of the diagonal. Takes other:",
        "the mask has more than half of another object. Clean: more than 70 % of the target and",
        "less than 10 % of each other object. Pointing: the hottest cell lies on the target.",
        "Swapped: of two masks each lies mainly on the other object. Text gain: IoU less the best",
        "control. Controls go the way of ours (propagation, threshold, refiner) with heat that",
        "knows no text, or with a word that is not in the picture; GrabCut is a mask of its own.",
    ]
