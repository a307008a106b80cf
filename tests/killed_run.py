"""A run that test_kill.py starts in processes of its own, and kills.

The model is loaded when the module is imported: by the server that forks these processes, so
that each of them starts at once.
"""

import gc
from pathlib import Path

import torch

from diffumask.dataset.preview import write_preview
from diffumask.dataset.store import open_store
from diffumask.generation.pipeline import GenerateSettings, generate
from diffumask.generation.plan import Item, plan
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Fixed
from diffumask.models import load, resolve
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.sample import SampleSettings
from diffumask.types import Prompt

CLASSES = {"bird": 3, "car": 7}
N = 18
BATCH_SIZE = 3

torch.set_num_threads(1)
PIPE = load(resolve("tiny"), "cpu", "float32")
VOCABULARY = load_vocabulary("tiny")
SETTINGS = GenerateSettings(
    "tiny",
    SampleSettings(1, 1.0, height=64, width=48),
    # Masks so small that many are dropped as specks, and their items drawn again.
    MaskSettings(threshold=Fixed(0.9), refiner="none", min_area=0.02),
    BATCH_SIZE,
    keep_maps=True,
    redraw=2,
)


gc.freeze()  # a collection would write to, and so copy, all that the forks share


def run(folder: Path) -> None:
    """Make what the folder lacks."""

    def prompt_of(item: Item) -> Prompt:
        return build(VOCABULARY, item.class_name, item.seed)

    with open_store(folder, {"seed": 0}, CLASSES, {"n": N}) as store:
        for _ in generate(PIPE, plan(list(CLASSES), N, 0), prompt_of, store, SETTINGS):
            pass
        write_preview(store)
