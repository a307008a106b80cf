"""Fit every number of every procedure on dev, ours and those of peers, by one tuner.

Each procedure tries as many settings: its published ones, and others drawn evenly from stated
ranges. The best has the highest mean over kinds of scenes, of the mean over classes, of the IoU; a
pixel that a mask leaves open counts half. What is found is written to benchmarks/masks/fitted.toml.
A table tells what each least presence would empty, of objects that are there and of wrong words.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from benchmarks.report import Report, table
from diffumask.masks.settings import LEAST_PRESENCE
from diffumask.models import resolve
from diffumask.proof.estimates import class_weights

from .fitted import FITTED, Fitted, write_fitted
from .items import Seen, read
from .judge import on_all, row_of
from .methods import WAYS
from .samples import Plan, gather
from .scenes import KINDS, chosen_kinds, load_split
from .tables import shown
from .ways import Made, Settings, View, drawn_settings

EMPTIED = (0.005, 0.01, 0.02, 0.05, 0.1)  # shares of present objects that a gate may empty


@dataclass(frozen=True, slots=True)
class Scored:
    """An item that shows its object: the agreement of each way by setting, and presences.

    `presence` is that of the asked word, `of_wrong` that of the wrong one.
    """

    kind: str
    class_name: str
    presence: float
    of_wrong: float
    of_ways: Mapping[str, Sequence[float]]


def candidates(budget: int) -> dict[str, list[dict[str, object]]]:
    """Return the settings that each way tries, always the same."""
    return {
        name: drawn_settings(way, budget, np.random.default_rng(0)) for name, way in WAYS.items()
    }


def agreement(made: Made, truth: np.ndarray) -> float:
    """Return the IoU where an open pixel counts half: the mean of wrong and left out."""
    row = row_of(made, truth)
    return (row["iou"] + row["iou_decided"]) / 2


def score(
    path: Path, tried: Mapping[str, Sequence[Settings]], affinity_net: Path | None
) -> list[Scored]:
    """Try all settings on the items of a file."""
    scores = []
    for item in (one for one in read(path) if one.present):
        view = View(item, affinity_net)
        of_ways = {
            name: [agreement(WAYS[name].make(view, **one), item.truth) for one in settings]
            for name, settings in tried.items()
        }
        right, wrong = _presence(item.right), _presence(item.wrong)
        scores.append(Scored(item.kind, item.class_name, right, wrong, of_ways))
    return scores


def _presence(seen: Seen) -> float:
    """Return that of the first target; one that the model does not tell is there."""
    return seen.presences.get(seen.prompt.targets[0].word, 1.0)


def means(scored: Sequence[Scored], name: str) -> Float64[np.ndarray, " setting"]:
    """Return the mean of each setting over kinds of the means over classes."""
    of_kinds = []
    for kind in {one.kind for one in scored}:
        of_kind = [one for one in scored if one.kind == kind]
        weights = class_weights([one.class_name for one in of_kind])
        of_kinds.append(weights @ np.array([one.of_ways[name] for one in of_kind]))
    return np.mean(of_kinds, axis=0)


def presence_table(scored: Sequence[Scored]) -> list[str]:
    """Return what a least presence empties, as shipped and for some shares of present objects."""
    present, wrong = (
        np.array([getattr(one, name) for one in scored]) for name in ("presence", "of_wrong")
    )
    levels = [LEAST_PRESENCE, *np.quantile(present, EMPTIED, method="lower")]
    rows = [
        (f"{level:.4f}", f"{(present <= level).mean():.1%}", f"{(wrong <= level).mean():.1%}")
        for level in levels
    ]
    return table(("least presence", "present objects emptied", "wrong words emptied"), rows)


def main(
    model: str = "tiny",
    n: Annotated[int, "items per class and kind"] = 1,
    budget: Annotated[int, "settings that each procedure tries"] = 24,
    kinds: Annotated[Sequence[str], "of scenes; all that can be drawn"] = (),
    classes: Annotated[Sequence[str], "that are asked; all of dev"] = (),
    photographs: Annotated[Sequence[Path], "folders of photographs for grounds"] = (),
    affinity_net: Annotated[Path | None, "folder of diffumask affinity train"] = None,
    work: Annotated[Path, "where items are kept"] = Path("build/masks"),
    workers: int = os.cpu_count() or 1,
    fitted: Annotated[Path, "where the best settings are written"] = FITTED,
) -> Report:
    """Try all settings of all procedures on dev, and write the best of each."""
    chosen = chosen_kinds(kinds, photographs)
    plan = Plan(resolve(model), load_split("dev"), chosen, n, photographs, classes)
    files = gather(plan, work)
    tried = candidates(budget)
    work_on = partial(score, tried=tried, affinity_net=affinity_net)
    scored = [one for of_file in on_all(work_on, files, workers) for one in of_file]
    of_ways = {name: means(scored, name) for name in WAYS}
    best = {name: tried[name][int(of_way.argmax())] for name, of_way in of_ways.items()}
    facts = {"model": model, "settings": budget, "items": len(scored), "kinds": list(chosen)}
    write_fitted(Fitted(facts, best), fitted)
    rows = [
        (name, budget, f"{of_way[0]:.3f}", f"{of_way.max():.3f}", shown(best[name]))
        for name, of_way in of_ways.items()
    ]
    head = ("procedure", "settings tried", "IoU as published", "best", "its settings")
    titles = ", ".join(KINDS[kind].title for kind in chosen)
    lines = [*table(head, rows), "", "The first is shipped:", "", *presence_table(scored)]
    return Report("Fitted on dev", [f"{len(scored)} items of {titles}."], lines)
