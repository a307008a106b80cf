"""How few steps, of which scheduler, still carry attention that is worth a mask?

The same prompts and seeds are drawn with each scheduler and number of steps, and masked by default.
The oracle says where the prompted class is, and whether it is there at all; IoU and text gain are
means over the pictures that show it. One object on a ground is found without text too, so what
text earns shows with two. Text gain is the IoU less that of the best control that knows
the picture and no text: heat of a Gaussian in the middle or of the contrast with the border, which
goes the way of ours, and GrabCut from the middle.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from benchmarks.judges.oracle import MIN_AREA, load_oracle, predict
from benchmarks.report import Report, table, tell
from benchmarks.sampling import batches, prompts_of, settings_of
from diffumask.articles import counted
from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.metrics import iou
from diffumask.models import load, resolve
from diffumask.models.schedulers import make_scheduler
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.proof.controls import GRABCUT, grabcut
from diffumask.proof.estimates import estimate
from diffumask.proof.figures import text_gain
from diffumask.proof.reading import control_samples
from diffumask.sampling.sample import SampleSettings, sample_attention, samples_of
from diffumask.types import Mask, Prompt, Sample

from .scenes import load_split

OURS = "ours"
STEPS = (4, 8, 12, 20, 30)
SCHEDULERS = ("ddim", "dpm++", "unipc")  # the first is that of `tiny`
Cell = tuple[str, int]  # scheduler and steps
Scores = dict[Cell, dict[str, list[float]]]  # IoU of each row by picture, NaN where it shows none


@contextmanager
def scheduled(pipe: Any, name: str) -> Iterator[None]:
    """Give a pipeline another scheduler for a while."""
    own = pipe.scheduler
    pipe.scheduler = make_scheduler(name, own)
    try:
        yield
    finally:
        pipe.scheduler = own


def mask_of(sample: Sample) -> Mask:
    """Return the mask of the first target."""
    return make_class_map(sample, MaskSettings()).class_map == sample.prompt.targets[0].class_id


def score(
    pipe: Any,
    oracle: Any,
    settings: SampleSettings,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
) -> dict[str, list[float]]:
    """Draw a batch; return the IoU of our masks and of each control's."""
    sampled = sample_attention(pipe, prompts, seeds, settings)
    samples = samples_of(pipe, sampled, prompts, seeds, settings)
    ((size_hw, matrices),) = sampled.attention.self_matrices.items()
    scores: dict[str, list[float]] = defaultdict(list)
    for one, matrix, seen in zip(samples, matrices, predict(oracle, sampled.images), strict=True):
        truth = seen == one.prompt.targets[0].class_id
        asked = replace(one, prompt=replace(one.prompt, targets=one.prompt.targets[:1]))
        controls = control_samples(asked, size_hw, matrix)
        masks = {name: mask_of(control) for name, control in {OURS: one, **controls}.items()}
        for name, mask in {**masks, GRABCUT: grabcut(one.image)}.items():
            scores[name].append(iou(mask, truth) if truth.mean() >= MIN_AREA else np.nan)
    return scores


def row(cell: Cell, scores: Mapping[str, Sequence[float]], classes: Sequence[str]) -> list[object]:
    """Write the line of a cell."""
    values = {name: np.array(ious) for name, ious in scores.items()}
    ours = values.pop(OURS)
    present = np.isfinite(ours)
    if not present.any():
        return [*cell, "0.0%", "", "", ""]
    best, gains = text_gain(ours, values)
    figures = estimate(ours, classes), estimate(gains, classes).signed
    return [*cell, f"{present.mean():.1%}", *figures, best]


def main(
    split: Annotated[str, "side of the split of `masks`", ["dev", "test"]] = "test",
    n: Annotated[int, "pictures per class"] = 4,
    seed: int = 0,
    objects: Annotated[int, "in a prompt, of which the first is asked for"] = 1,
    steps: Annotated[Sequence[int], "numbers of steps"] = STEPS,
    schedulers: Annotated[Sequence[str], "that are tried"] = SCHEDULERS,
) -> Report:
    """Draw pictures of every class, and report."""
    spec, vocabulary = resolve("tiny"), load_vocabulary("tiny")
    pipe: Any = load(spec)
    oracle, names = load_oracle(), load_split(split).classes
    scores: Scores = defaultdict(lambda: defaultdict(list))
    items = prompts_of(vocabulary, names, range(n), seed, objects)
    for part in batches(items):
        prompts, seeds = zip(*part, strict=True)
        for scheduler in schedulers:
            with scheduled(pipe, scheduler):
                for num_steps in steps:
                    settings = replace(settings_of(spec), num_inference_steps=num_steps)
                    found = score(pipe, oracle, settings, prompts, seeds)
                    for name, ious in found.items():
                        scores[scheduler, num_steps][name] += ious
                    tell(f"{len(scores[scheduler, num_steps][OURS])} of {scheduler}, {num_steps}")
    classes = [name for name in names for _ in range(n)]
    facts = [
        f"{len(classes)} pictures of `tiny` a line, {n} of each class of {split}, from prompts of",
        f"{counted(objects, 'object')}, of which the first is asked for. Means over classes, with",
        "95 % intervals of a bootstrap that draws classes and then pictures.",
    ]
    head = ("scheduler", "steps", "shows its class", "IoU", "text gain", "best control")
    lines = [row(cell, of_cell, classes) for cell, of_cell in scores.items()]
    return Report("How few steps still carry usable attention", facts, table(head, lines))
