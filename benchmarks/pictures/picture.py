"""Draw the README's picture: prompts, the images made of them, the heat of words, and the masks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image as PillowImage

from benchmarks.sampling import settings_of
from diffumask.draw import (
    Palette,
    caption,
    contact_sheet,
    display_palette,
    fit,
    heat_overlay,
    overlay,
)
from diffumask.masks.class_map import make_class_map
from diffumask.masks.enlarge import enlarge
from diffumask.masks.settings import MaskSettings
from diffumask.models import load, resolve
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.sample import sample
from diffumask.types import Image, Prompt, Sample, Target

COLUMNS = 2
SIDE_PX = 176
# Chosen by looking, text and seed, among some dozens.
EXAMPLES = (
    ("a picture of a taxi car on a carpet", ("car",), 1013219217202214118),
    ("a picture of a city bus on sand", ("bus",), 6763800211978743570),
    ("a picture of a toadstool mushroom on grass", ("mushroom",), 2899867345408302707),
    ("a sunflower flower on a wood floor", ("flower",), 2716816186868265331),
    (
        "a picture of a hatchback car and an oncoming bus on water",
        ("car", "bus"),
        278931415786267525,
    ),
    (
        "a photo of a toadstool mushroom and a hibiscus flower on a road",
        ("mushroom", "flower"),
        6517620598465274393,
    ),
)


def main(out: Annotated[Path, "docs/example.png"]) -> None:
    """Generate the images as `diffumask generate` would, and draw them."""
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    ids = {name: vocabulary.find(name).class_id for _, names, _ in EXAMPLES for name in names}
    prompts = [
        Prompt(text, tuple(Target(name, name, ids[name]) for name in names))
        for text, names, _ in EXAMPLES
    ]
    pipe, settings, seeds = load(spec), settings_of(spec), [seed for *_, seed in EXAMPLES]
    palette = display_palette(ids.values())
    drawn = [group(one, palette) for one in sample(pipe, prompts, seeds, settings)]
    out.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(contact_sheet([[one] for one in drawn], COLUMNS)).save(out)


def group(one: Sample, palette: Palette) -> Image:
    """Draw a prompt above the image, the heat of its words, and the mask, each with its name."""
    tiles = [np.concatenate([tile, caption(name, SIDE_PX)]) for name, tile in shown(one, palette)]
    body = np.concatenate(tiles, axis=1)
    return np.concatenate([caption(f"“{one.prompt.text}”", body.shape[1]), body])


def shown(one: Sample, palette: Palette) -> Iterator[tuple[str, Image]]:
    """Yield what is drawn of a sample, with its name: four pictures."""
    class_map = fit(make_class_map(one, MaskSettings()).class_map, SIDE_PX)
    image, targets = fit(one.image, SIDE_PX), one.prompt.targets
    yield "image", image
    for target in targets:
        heat = enlarge(one.heats[target.word], class_map.shape)
        yield f"attention to “{target.word}”", heat_overlay(image, heat)
    names = ", ".join(target.class_name for target in targets)
    if len(targets) == 1:
        yield f"mask: {names}", palette[class_map]
    yield (
        f"mask: {names}" if len(targets) > 1 else "cut out",
        overlay(image, class_map, palette, dims=True),
    )
