"""Compose scenes: objects on a background, with exact masks and a caption."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from diffumask.articles import with_article

from .backgrounds import draw_background
from .catalog import Background, Catalog, Split, SpriteClass, load_catalog
from .sprites import sprite
from .variation import PLAIN, Variation, placed

OBJECT_COUNT_PROBABILITIES = (0.52, 0.40, 0.08)  # one, two, three objects
SIZE_RANGES = ((0.48, 0.85), (0.38, 0.58), (0.30, 0.46))  # longest side / shorter image side
MIN_VISIBLE = 0.65  # share of an object that later objects must leave in sight
PLACEMENT_TRIES = 20
SUB_CLASS_PROBABILITY = 0.65  # of captions that name the sub-class before the class
SEED_SPACES = {"train": 0, "test": 1, "judge": 2}
UNNAMED = Background("", "", "", (), False)


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One drawn object; `mask` holds its visible pixels only."""

    class_name: str
    class_id: int
    sub_class: str
    mask: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A rendered image with its caption and exact truth; objects in drawing order."""

    image: UInt8[np.ndarray, "h w 3"]
    caption: str
    background: str
    objects: tuple[SceneObject, ...]
    class_map: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class _Layer:
    sprite_class: SpriteClass
    sub_class: str
    rgb: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]


def render_scene(
    seed: int,
    size_hw: tuple[int, int] = (128, 128),
    split: Split = "train",
    class_names: Sequence[str] | None = None,
    variation: Variation = PLAIN,
    ground: Background | UInt8[np.ndarray, "h w 3"] | None = None,
) -> Scene:
    """Render the scene of one seed.

    `class_names` fixes the objects in drawing order; without it one to three random classes
    are drawn. The objects of a seed lie alike on any `ground`; one that is an image, of the size
    asked for, has no name and is not in the caption. Seeds of different splits never share random
    numbers. Raises InputError without the emoji font, KeyError for a class that the catalogue
    lacks.
    """
    catalog = load_catalog()
    rng = np.random.default_rng((SEED_SPACES[split], seed))
    names = class_names or choose_classes(list(catalog.classes), rng)
    background = catalog.backgrounds[str(rng.choice(list(catalog.backgrounds)))]
    if ground is not None:
        background = ground if isinstance(ground, Background) else UNNAMED
    classes = [catalog.classes[name] for name in names]
    layers = _place_layers(classes, size_hw, split, variation, rng)
    below = ground if isinstance(ground, np.ndarray) else draw_background(background, size_hw, rng)
    image = _composite(below, layers, rng)
    objects = _visible_objects(layers)
    class_map = np.zeros(size_hw, np.uint8)
    for item in objects:
        class_map[item.mask] = item.class_id
    return Scene(
        image, _caption(catalog, layers, background, rng), background.name, objects, class_map
    )


def choose_classes(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw one to three of the classes, each once."""
    count = 1 + int(rng.choice(len(OBJECT_COUNT_PROBABILITIES), p=OBJECT_COUNT_PROBABILITIES))
    drawn = rng.choice(list(names), min(count, len(names)), replace=False)
    return [str(name) for name in drawn]


def _place_layers(
    classes: Sequence[SpriteClass],
    size_hw: tuple[int, int],
    split: Split,
    variation: Variation,
    rng: np.random.Generator,
) -> list[_Layer]:
    """Place objects one after another so that each stays visible by MIN_VISIBLE if possible.

    Where no try leaves all in sight that far, the try that leaves most of them stays.
    """
    size_range = SIZE_RANGES[min(len(classes), 3) - 1]
    layers: list[_Layer] = []
    for sprite_class in classes:
        sub_classes = sprite_class.sub_classes(split)
        sub_class = str(rng.choice(list(sub_classes)))
        pixels = sprite(sub_classes[sub_class])

        def draw(sprite_class=sprite_class, sub_class=sub_class, pixels=pixels) -> _Layer:
            layer = placed(pixels, size_hw, size_range, variation, rng)
            return _Layer(sprite_class, sub_class, layer[..., :3], layer[..., 3])

        best, most_visible = None, -1.0
        for _ in range(PLACEMENT_TRIES):
            layer = draw()
            visible = _least_visible([*layers, layer])
            if visible > most_visible:
                best, most_visible = layer, visible
            if visible >= MIN_VISIBLE:
                break
        assert best is not None
        layers.append(best)
    return layers


def _visible_masks(layers: Sequence[_Layer]) -> list[Bool[np.ndarray, "h w"]]:
    masks = [layer.alpha > 0.5 for layer in layers]
    covered = np.zeros_like(masks[0])
    visible = []
    for mask in reversed(masks):
        visible.append(mask & ~covered)
        covered |= mask
    return visible[::-1]


def _least_visible(layers: Sequence[_Layer]) -> float:
    shares = (
        visible.sum() / max((layer.alpha > 0.5).sum(), 1)
        for visible, layer in zip(_visible_masks(layers), layers, strict=True)
    )
    return float(min(shares))


def _visible_objects(layers: Sequence[_Layer]) -> tuple[SceneObject, ...]:
    return tuple(
        SceneObject(layer.sprite_class.name, layer.sprite_class.class_id, layer.sub_class, mask)
        for layer, mask in zip(layers, _visible_masks(layers), strict=True)
    )


def _composite(
    ground: UInt8[np.ndarray, "h w 3"], layers: Sequence[_Layer], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay objects over the ground, each with a soft shadow that belongs to no mask."""
    image = ground.astype(np.float32)
    unit = min(ground.shape[:2])
    drop_x, drop_y = rng.uniform(-0.03, 0.03) * unit, rng.uniform(0.01, 0.04) * unit
    strength = rng.uniform(0.15, 0.4)
    shift = np.array([[1, 0, drop_x], [0, 1, drop_y]], np.float64)
    for layer in layers:
        h, w = layer.alpha.shape
        shadow = cv2.warpAffine(layer.alpha, shift, (w, h))
        shadow = cv2.GaussianBlur(shadow, (0, 0), 0.02 * unit)[..., None]
        image *= 1 - strength * shadow
        image = image * (1 - layer.alpha[..., None]) + layer.rgb
    return np.clip(image, 0, 255).astype(np.uint8)


def _caption(
    catalog: Catalog, layers: Sequence[_Layer], background: Background, rng: np.random.Generator
) -> str:
    phrases = []
    for layer in layers:
        named = rng.random() < SUB_CLASS_PROBABILITY
        phrase = (
            f"{layer.sub_class} {layer.sprite_class.name}" if named else layer.sprite_class.name
        )
        phrases.append(with_article(phrase))
    template = str(rng.choice(catalog.captions))
    return template.format(objects=" and ".join(phrases), background=background.phrase).rstrip()
