"""Draw the README's picture: generated image, heat map of the class word, mask."""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np

from benchmarks.sampling import prompts_of, settings_of
from diffumask.draw import contact_sheet, display_palette, heat_overlay, overlay
from diffumask.masks.class_map import make_class_map
from diffumask.masks.enlarge import enlarge
from diffumask.masks.settings import MaskSettings
from diffumask.models import load, resolve
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.sample import sample
from diffumask.types import IGNORE_ID

CLASSES = ("bird", "car", "flower", "potted plant", "sheep", "house")
COLUMNS = 2


def main(out: Annotated[Path, "docs/example.png"], seed: int = 0) -> None:
    """Generate one item of each class as `diffumask generate --seed SEED` would, and draw them."""
    spec = resolve("tiny")
    vocabulary = load_vocabulary("tiny")
    made = prompts_of(vocabulary, CLASSES, [0], seed)
    prompts, seeds = zip(*made, strict=True)
    groups, palette = [], display_palette(vocabulary.find(name).class_id for name in CLASSES)
    for one in sample(load(spec), prompts, seeds, settings_of(spec)):
        class_map = make_class_map(one, MaskSettings()).class_map
        (heat,) = one.heats.values()
        warm = heat_overlay(one.image, enlarge(heat, class_map.shape))
        grey = np.select([class_map == 0, class_map == IGNORE_ID], [0, 128], 255).astype(np.uint8)
        mask = grey[..., None].repeat(3, axis=2)
        groups.append([one.image, warm, overlay(one.image, class_map, palette), mask])
        print(one.prompt.text)
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), contact_sheet(groups, COLUMNS)[..., ::-1])
