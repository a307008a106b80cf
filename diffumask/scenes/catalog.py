"""What can be drawn: classes with their sprites, and backgrounds, read from TOML."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

Split = Literal["train", "test", "judge"]


@dataclass(frozen=True, slots=True)
class SpriteClass:
    """A class and its sub-classes, each an emoji, by split.

    The sprites of `judge` are shown to judges of generated images beside those of `train`, never to
    a model that draws. `effort` is how often a model should see the class while it learns, relative
    to an easy one.
    """

    name: str
    class_id: int
    train: Mapping[str, str]
    test: Mapping[str, str]
    judge: Mapping[str, str]
    effort: float

    def sub_classes(self, split: Split) -> Mapping[str, str]:
        """Return name -> emoji of one split; a class without test sprites gives its train ones."""
        if split == "judge":
            return MappingProxyType({**self.train, **self.judge})
        return self.test or self.train if split == "test" else self.train


@dataclass(frozen=True, slots=True)
class Background:
    """A named ground: the phrase a caption uses, a pattern and its RGB colours (0..255).

    Plain patterns have two colours; the first of a busy one lies between its things.
    """

    name: str
    phrase: str
    pattern: str
    colours: tuple[tuple[int, int, int], ...]
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything the renderer can draw, and the caption templates."""

    classes: Mapping[str, SpriteClass]
    backgrounds: Mapping[str, Background]
    captions: tuple[str, ...]


@cache
def load_catalog() -> Catalog:
    """Read the catalogue that ships with the package."""
    raw = tomllib.loads(files("diffumask.scenes").joinpath("catalog.toml").read_text("utf-8"))
    classes = {name: _sprite_class(name, entry) for name, entry in raw["classes"].items()}
    backgrounds = {name: _background(name, entry) for name, entry in raw["backgrounds"].items()}
    return Catalog(MappingProxyType(classes), MappingProxyType(backgrounds), tuple(raw["captions"]))


def _sprite_class(name: str, entry: Mapping[str, Any]) -> SpriteClass:
    train, test, judge = (
        MappingProxyType(entry.get(split, {})) for split in ("train", "test", "judge")
    )
    return SpriteClass(name, entry["id"], train, test, judge, entry.get("effort", 1.0))


def _background(name: str, entry: Mapping[str, Any]) -> Background:
    colours = tuple(_rgb(colour) for colour in entry["colours"])
    return Background(name, entry["phrase"], entry["pattern"], colours, entry.get("busy", False))


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
