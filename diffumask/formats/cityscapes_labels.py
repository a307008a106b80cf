"""The labels of Cityscapes, and which of them each class of a dataset is."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from diffumask.labelled.values import CITYSCAPES_NAMES
from diffumask.types import ClassIds

FACTS_FILE = "cityscapes.toml"


@dataclass(frozen=True, slots=True)
class Label:
    """A class that Cityscapes evaluates; `colour` is red, green and blue."""

    name: str
    label_id: int
    train_id: int
    colour: tuple[int, int, int]
    has_instances: bool


def match_classes(class_ids: Mapping[str, int]) -> dict[int, Label]:
    """Find the label of each class by its name or an alias; other classes are left out."""
    aliases = {name: facts.get("aliases", ()) for name, facts in _facts().items()}
    known = ClassIds({label.name: label.label_id for label in _labels()}, aliases)
    labels = {label.name: label for label in _labels()}
    found = {class_id: known.find(name) for name, class_id in class_ids.items()}
    return {class_id: labels[name] for class_id, name in found.items() if name is not None}


@cache
def _labels() -> tuple[Label, ...]:
    return tuple(
        Label(name, label_id, train_id, _colour(name), _facts()[name].get("instances", False))
        for train_id, (label_id, name) in enumerate(CITYSCAPES_NAMES.items())
    )


def _colour(name: str) -> tuple[int, int, int]:
    red, green, blue = _facts()[name]["colour"]
    return red, green, blue


@cache
def _facts() -> dict[str, dict]:
    return tomllib.loads(files("diffumask.formats").joinpath(FACTS_FILE).read_text("utf-8"))
