"""The kinds of scenes that masks are judged on, and how each is drawn, with exact truth.

A scene asks for one object, label 1 of its truth; the others are 2, 3, ... Its seed is the first of
a row of seeds whose scene is of its kind.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal
from zlib import crc32

import cv2
import numpy as np

from benchmarks.judges.oracle import MIN_AREA
from diffumask.articles import with_article
from diffumask.errors import InputError
from diffumask.files.pictures import PHOTOGRAPHS, opened
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.proof.figures import ASKED
from diffumask.scenes import Scene, SceneObject, load_catalog, render_scene
from diffumask.scenes.catalog import Background
from diffumask.types import ClassMap, Image, Mask, Prompt, Target

TRIES = 500
SUB_CLASS_PROBABILITY = 0.65  # as in the scenes that `tiny` has seen
OFF_CENTRE = 0.2  # share of a side between the middle of the object and that of the image
NEAR_COLOUR = 12.0  # standard deviation of a ground's colours around that of the object


@dataclass(frozen=True, slots=True)
class Split:
    """One side of split.toml: classes, and the first seed and that behind the last."""

    name: str
    classes: tuple[str, ...]
    seeds: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scene; `generated` ones are made by the model and seen by the oracle.

    The first of the objects is asked, with `all_asked` each is. `same` draws all of its class.
    """

    title: str
    generated: bool = False
    objects: int = 1
    all_asked: bool = False
    all_named: bool = True
    same: bool = False
    at_border: bool = False
    ground: Literal["plain", "busy", "near", "photograph"] = "plain"
    new_sprites: bool = False


KINDS: dict[str, Kind] = {
    "one": Kind("one object"),
    "two": Kind("two objects, both named", objects=2),
    "two_unnamed": Kind("two objects, one named", objects=2, all_named=False),
    "two_same": Kind("two objects of the asked class", objects=2, same=True),
    "two_asked": Kind("two objects, both asked", objects=2, all_asked=True),
    "three": Kind("three objects, all named", objects=3),
    "border": Kind("off-centre, at the border", at_border=True),
    "near": Kind("colour near the ground's", ground="near"),
    "busy": Kind("busy grounds", ground="busy"),
    "photograph": Kind("photographs as grounds", ground="photograph"),
    "sprites": Kind("sprites that no model has seen", new_sprites=True),
    "made_one": Kind("generated: one object", generated=True),
    "made_two": Kind("generated: two objects, both named", generated=True, objects=2),
    "made_two_asked": Kind("generated: both asked", generated=True, objects=2, all_asked=True),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A scene with its prompt, a class that is not in it, and its truth."""

    seed: int
    image: Image
    prompt: Prompt
    wrong: str
    truth: ClassMap


@cache
def load_split(name: str) -> Split:
    """Read one side of split.toml."""
    entry = tomllib.loads(Path(__file__).with_name("split.toml").read_text("utf-8"))[name]
    first, stop = entry["seeds"]
    return Split(name, tuple(entry["classes"]), (first, stop))


def chosen_kinds(names: Sequence[str], photographs: Sequence[Path]) -> list[str]:
    """Return the kinds of these names; of none all, with photographs where there are some."""
    for name in names:
        if name not in KINDS:
            raise InputError(f"expected kinds among {', '.join(KINDS)}, got {name!r}")
    return [name for name in names or KINDS if photographs or KINDS[name].ground != "photograph"]


def classes_of(kind: Kind, split: Split, names: Sequence[str] = ()) -> list[str]:
    """Return the classes that can be asked, or those of these names: of new sprites with some.

    Raises InputError for a name that is not of this side of the split.
    """
    for name in names:
        if name not in split.classes:
            known = ", ".join(split.classes)
            raise InputError(f"expected classes of {split.name} ({known}), got {name!r}")
    catalog = load_catalog().classes
    chosen = names or split.classes
    return [name for name in chosen if catalog[name].test or not kind.new_sprites]


def random_of(split: Split, kind: str, class_name: str, index: int) -> np.random.Generator:
    """Return the random numbers of one item, which no other item has."""
    class_id = load_catalog().classes[class_name].class_id
    return np.random.default_rng((split.seeds[0], crc32(kind.encode()), class_id, index))


def draw(
    name: str,
    class_name: str,
    index: int,
    split: Split,
    size_hw: tuple[int, int],
    photographs: Sequence[Path] = (),
) -> Drawn:
    """Draw the scene of an index: the asked class, and others of the same side of the split.

    Raises InputError where no seed gives such a scene.
    """
    kind, rng = KINDS[name], random_of(split, name, class_name, index)
    for _ in range(TRIES):
        seed = int(rng.integers(*split.seeds))
        others = [one for one in split.classes if one != class_name]
        drawn = rng.choice(others, kind.objects - 1, replace=False)
        names = [class_name] * kind.objects if kind.same else [class_name, *map(str, drawn)]
        names = [names[i] for i in rng.permutation(len(names))]
        scene, phrase = _scene(kind, seed, names, class_name, size_hw, photographs, rng)
        truth = _truth(scene.objects, class_name)
        if _fits(kind, truth):
            wrong = str(rng.choice([one for one in others if one not in names]))
            prompt = _prompt(kind, scene.objects, class_name, phrase, rng)
            return Drawn(seed, scene.image, prompt, wrong, truth)
    raise InputError(f"expected a scene {kind.title!r} of {class_name}, got none in {TRIES} tries")


def _scene(
    kind: Kind,
    seed: int,
    names: Sequence[str],
    class_name: str,
    size_hw: tuple[int, int],
    photographs: Sequence[Path],
    rng: np.random.Generator,
) -> tuple[Scene, str]:
    """Render a scene; return it with the phrase of its ground."""
    sprites = "test" if kind.new_sprites else "train"
    if kind.ground == "photograph":
        below = _cropped(_unlike(photographs, names, rng), size_hw, rng)
        return render_scene(seed, size_hw, sprites, names, ground=below), ""
    grounds = load_catalog().backgrounds.values()
    chosen = [one for one in grounds if one.is_busy == (kind.ground == "busy")]
    ground = chosen[int(rng.integers(len(chosen)))]
    scene = render_scene(seed, size_hw, sprites, names, ground=ground)
    if kind.ground == "near":
        asked = next(one for one in scene.objects if one.class_name == class_name)
        ground = _near(ground, scene.image, asked.mask, rng)
        scene = render_scene(seed, size_hw, sprites, names, ground=ground)
    return scene, ground.phrase


def _near(ground: Background, image: Image, mask: Mask, rng: np.random.Generator) -> Background:
    """Return the ground in two colours around the mean colour of an object."""
    mean = image[mask].mean(0) if mask.any() else np.full(3, 128.0)
    colours = (mean + rng.normal(0, NEAR_COLOUR, (2, 3))).clip(0, 255).astype(int).tolist()
    (first, second) = ((red, green, blue) for red, green, blue in colours)
    return replace(ground, colours=(first, second))


def _unlike(photographs: Sequence[Path], names: Sequence[str], rng: np.random.Generator) -> Path:
    """Choose a photograph whose file is not named like one of the classes."""
    vocabulary = load_vocabulary("tiny")
    entries = [vocabulary.find(name) for name in names]
    known = {word for one in entries for word in (*one.known_as, *one.sub_classes)}
    fitting = [path for path in photographs if not any(word in path.stem for word in known)]
    if not fitting:
        raise InputError(f"expected photographs without {', '.join(names)}, got none; give others")
    return fitting[int(rng.integers(len(fitting)))]


def _cropped(path: Path, size_hw: tuple[int, int], rng: np.random.Generator) -> Image:
    """Cut the largest part of the aspect asked for at random, and resize it."""
    with opened(path, PHOTOGRAPHS) as picture:
        pixels = np.array(picture.convert("RGB"))
    height, width = size_hw
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    h, w = int(scale * height), int(scale * width)
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(pixels.shape, (h, w), strict=False))
    return cv2.resize(pixels[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)


def _truth(objects: Sequence[SceneObject], class_name: str) -> ClassMap:
    truth = np.zeros(objects[0].mask.shape, np.uint8)
    others = (one for one in objects if one.class_name != class_name)
    for label, other in enumerate(others, start=ASKED + 1):
        truth[other.mask] = label
    for one in objects:
        if one.class_name == class_name:
            truth[one.mask] = ASKED
    return truth


def _fits(kind: Kind, truth: ClassMap) -> bool:
    labels = np.arange(1, 2 if kind.same else 1 + kind.objects)
    if min((truth == label).mean() for label in labels) < MIN_AREA:
        return False
    if not kind.at_border:
        return True
    asked = truth == ASKED
    touches = np.concatenate([asked[0], asked[-1], asked[:, 0], asked[:, -1]]).any()
    middle = np.array(
        [(np.nonzero(asked)[axis].mean() + 0.5) / asked.shape[axis] for axis in (0, 1)]
    )
    return bool(touches and np.abs(middle - 0.5).max() > OFF_CENTRE)


def _prompt(
    kind: Kind,
    objects: Sequence[SceneObject],
    class_name: str,
    phrase: str,
    rng: np.random.Generator,
) -> Prompt:
    """Return the prompt, which names the objects in their order and asks for some of them."""
    named = [one for one in objects if kind.all_named or one.class_name == class_name]
    with_sub_class = [not kind.same and rng.random() < SUB_CLASS_PROBABILITY for _ in named]
    phrases = [
        with_article(f"{one.sub_class} {one.class_name}" if full else one.class_name)
        for one, full in zip(named, with_sub_class, strict=True)
    ]
    first = next(i for i, one in enumerate(named) if one.class_name == class_name)
    sub_class = named[first].sub_class if with_sub_class[first] else ""
    ids = {one.class_name: one.class_id for one in named}
    others = [name for name in ids if name != class_name]
    asked = [class_name, *(others if kind.all_asked else ())]
    targets = tuple(Target(name, name, ids[name]) for name in asked)
    text = f"a photo of {' and '.join(phrases)} {phrase}".strip()
    return Prompt(text, targets, sub_class, phrase)
