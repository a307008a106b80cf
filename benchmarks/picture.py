"""Draw the README's picture: generated image, heat map of the class word, mask.

python benchmarks/picture.py --out docs/example.png
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from diffumask.draw import contact_sheet, heat_overlay, overlay
from diffumask.masks.class_map import MaskSettings, enlarge, make_class_map
from diffumask.models import load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.seeds import item_seed
from diffumask.types import IGNORE_ID

CLASSES = ("bird", "car", "flower", "potted plant", "sheep", "house")
COLUMNS = 2


def main() -> None:
    """Generate one item of each class as `diffumask generate --seed SEED` would, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    sampling = SampleSettings(
        spec.num_inference_steps, spec.guidance_scale, spec.height, spec.width
    )
    seeds = [item_seed(arguments.seed, name, 0) for name in CLASSES]
    prompts = [build(vocabulary, name, seed) for name, seed in zip(CLASSES, seeds, strict=True)]
    groups = []
    for one in sample(load(spec), prompts, seeds, sampling):
        class_map = make_class_map(one, MaskSettings()).class_map
        (heat,) = one.heats.values()
        warm = heat_overlay(one.image, enlarge(heat, class_map.shape))
        grey = np.select([class_map == 0, class_map == IGNORE_ID], [0, 128], 255).astype(np.uint8)
        mask = grey[..., None].repeat(3, axis=2)
        groups.append([one.image, warm, overlay(one.image, class_map), mask])
        print(one.prompt.text)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(arguments.out), contact_sheet(groups, COLUMNS)[..., ::-1])


if __name__ == "__main__":
    main()
