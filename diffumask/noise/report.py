"""What a report of the filter shows: items of each kind with their pictures, worst first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.preview import UNCERTAIN
from diffumask.draw import Palette, display_palette, fit, overlay
from diffumask.labelled.pixels import read_indices
from diffumask.types import IGNORE_ID, Image

from .admission import Outcome
from .verdicts import Verdict

SIDE_PX = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of the report: its image, its mask, and where no gate stopped it a prediction."""

    name: str
    class_names: Sequence[str]
    verdict: Verdict
    pictures: Sequence[Image]


@dataclass(frozen=True, slots=True)
class Part:
    """Items of one kind: `shown` of `total`."""

    title: str
    total: int
    shown: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Report:
    """The parts of a report on a dataset; `names` are those of its classes, by id, and of 255."""

    title: str
    outcome: Outcome
    parts: Sequence[Part]
    names: Mapping[int, str]
    palette: Palette


def gather(outcome: Outcome, source: Dataset, predictions: Path, max_items: int) -> Report:
    """Draw `max_items` of each part.

    These are what the quality dropped and what the gates stopped, worst first, and what was kept,
    next to the cut first.
    """
    shown = {name for item in outcome.items for name in item.areas}
    names = {class_id: name for name, class_id in source.classes.items() if name in shown}
    palette = display_palette(source.classes.values())
    entry_of = _Entries(outcome, source, predictions, palette)
    verdicts = outcome.verdicts
    ranked = sorted(verdicts, key=lambda name: (verdicts[name].quality or 0.0, name))

    def part(title: str, wanted: Callable[[Verdict], bool]) -> Part:
        found = [name for name in ranked if wanted(verdicts[name])]
        return Part(title, len(found), [entry_of(name) for name in found[:max_items]])

    parts = [
        part(f"Dropped by {outcome.measure}", lambda one: not one.is_kept and bool(one.qualities)),
        part("Stopped by a gate", lambda one: not one.is_kept and not one.qualities),
        part("Kept, next to the cut", lambda one: one.is_kept),
    ]
    return Report(source.folder.name, outcome, parts, names | {IGNORE_ID: UNCERTAIN}, palette)


class _Entries:
    """Draws the items of a dataset by name."""

    def __init__(
        self, outcome: Outcome, source: Dataset, predictions: Path, palette: Palette
    ) -> None:
        self.outcome, self.source, self.predictions = outcome, source, predictions
        self.palette = palette
        self.positions = {record.name: i for i, record in enumerate(source.records)}
        self.classes = {item.name: list(item.areas) for item in outcome.items}

    def __call__(self, name: str) -> Entry:
        verdict = self.outcome.verdicts[name]
        pair = self.source.decode(self.positions[name])
        masks = [pair.class_map]
        if verdict.qualities:
            masks.append(read_indices(self.predictions / f"{name}.png"))
        image = fit(pair.image, SIDE_PX)
        drawn = [overlay(image, fit(mask, SIDE_PX), self.palette, dims=True) for mask in masks]
        return Entry(name, self.classes[name], verdict, [image, *drawn])
