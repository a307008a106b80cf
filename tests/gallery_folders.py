"""A small dataset that the page of `diffumask show` is made of in tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.dataset.maps import encode_maps
from diffumask.dataset.store import open_store
from diffumask.types import Example, Prompt, Sample, Target

BIRD, CAT = Target("bird", "bird", 3), Target("cat", "cat", 8)
CLASSES = {"bird": 3, "cat": 8}
SETTINGS = {"model": "tiny", "num_inference_steps": 20, "guidance_scale": 4.0, "heat": "affinity"}
HEIGHT, WIDTH = 16, 24
GRID_HW = (4, 6)
SEED = 2**62 + 1  # which a float rounds


def write_items(
    folder: Path,
    lines: Mapping[str, Mapping[str, Any]],
    *,
    text: str = "a bird and a cat",
    targets: tuple[Target, ...] = (BIRD, CAT),
    with_maps: bool = True,
    settings: Mapping[str, Any] = SETTINGS,
    classes: Mapping[str, int] = CLASSES,
    first_seed: int = SEED,
) -> Path:
    """Write an item for each name in `lines`, with these further fields in its record."""
    with open_store(folder, settings, classes, {}) as store:
        for seed, (name, facts) in enumerate(lines.items(), first_seed):
            rng = np.random.default_rng(seed)
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            class_map = np.zeros((HEIGHT, WIDTH), np.uint8)
            class_map[2:9, 3:11] = targets[0].class_id
            class_map[9, 3:11] = 255
            heats = {one.word: heat(rng) for one in targets}
            affinities = {one.word: heat(rng) for one in targets}
            example = Example(Prompt(text, targets), seed, image, class_map, {"stability": 0.5})
            sample = Sample(example.prompt, seed, image, heats, affinities)
            thresholds = {"thresholds": [0.4] * len(targets), "foreground": 0.25}
            maps = encode_maps(sample) if with_maps else None
            store.write(name, example, {**thresholds, **facts}, maps)
    return folder


def heat(rng: np.random.Generator) -> np.ndarray:
    """A heat map in bytes, as samples have it."""
    levels = rng.integers(0, 256, GRID_HW)
    levels[1, 2] = 255
    return (levels / 255).astype(np.float32)
