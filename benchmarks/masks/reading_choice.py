"""Which reading of a network shows an object best? IoU by space, third of blocks and of steps.

Pictures of a model that draws the world of `tiny` are sampled once for each reading, from the same
seeds, so that they are equal; the oracle says where the prompted class is. A figure is the mean IoU
over the pictures where the class is present, of heat before and after propagation, at the one
threshold that is best for the row, so that readings are compared and not their scales. Controls
know no text: a Gaussian in the middle, and the distance from the colour of the border.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from benchmarks.judges.oracle import MIN_AREA, load_oracle, predict
from benchmarks.report import Report, table, tell
from benchmarks.sampling import names_of, prompts_of, settings_of
from diffumask.attention.aggregate import aggregate
from diffumask.attention.capture import capture
from diffumask.attention.families import network_of
from diffumask.attention.propagate import propagated
from diffumask.masks.enlarge import enlarge
from diffumask.metrics import iou
from diffumask.models import ModelSpec, load, resolve
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.proof.controls import HEATS
from diffumask.sampling.calling import call_arguments
from diffumask.types import GridHeat, Image, Mask, Prompt

from .attention_choice import SHARES, THRESHOLDS, best

DEFAULT, ALL = "the default", "all"
CONTROL_GRID = 16
Row = tuple[str, str, str]  # space, blocks, steps
Scores = dict[Row, dict[bool, list[np.ndarray]]]  # by whether the heat was propagated


def thirds_of(names: Sequence[str]) -> dict[str, Callable[[str], bool]]:
    """Return the layers of each third, in the order in which the network has them."""
    edges = [round(part * len(names) / 3) for part in range(4)]
    parts = [set(names[a:b]) for a, b in itertools.pairwise(edges)]
    thirds = dict(zip(("first third", "middle third", "last third"), parts, strict=True))
    return {name: part.__contains__ for name, part in thirds.items() if part}


def readings_of(pipe: Any) -> Iterator[tuple[Row, dict[str, Any]]]:
    """List the rows, each with the arguments of `capture`: one thing is changed at a time."""
    network = network_of(pipe.unet if hasattr(pipe, "unet") else pipe.transformer, pipe)
    streams = [name for _, name in getattr(network, "streams", list)()]
    every = {"attention": list(network.text_layers()), "output": streams[:-1]}
    for reading in network.readings:
        yield (reading.space, DEFAULT, DEFAULT), {"space": reading.space}
        names = every[reading.space]
        for which, layers in {**thirds_of(names), ALL: names.__contains__}.items():
            given = {"space": reading.space, "layers": layers, "steps": (0.0, 1.0)}
            yield (reading.space, which, ALL), given
        for share, steps in SHARES.items():
            yield (reading.space, DEFAULT, share), {"space": reading.space, "steps": steps}


def score(
    pipe: Any, oracle: Any, spec: ModelSpec, prompts: Sequence[Prompt], seeds: Sequence[int]
) -> Scores:
    """Sample a batch for each reading; compare its heat and that of controls with the oracle."""
    truths: list[Mask] = []
    images: list[Image] = []
    scores: Scores = defaultdict(lambda: defaultdict(list))
    words = [[target.word for target in prompt.targets] for prompt in prompts]
    texts = [prompt.text for prompt in prompts]
    size_hw = spec.height, spec.width

    def add(row: Row, is_propagated: bool, heats: Sequence[GridHeat]) -> None:
        for heat, truth in zip(heats, truths, strict=True):
            ious = np.array([iou(enlarge(heat, size_hw) > t, truth) for t in THRESHOLDS])
            kept = ious if truth.mean() >= MIN_AREA else np.full(len(ious), np.nan)
            scores[row][is_propagated].append(kept)

    for row, given in readings_of(pipe):
        with capture(pipe, words, self_attention=True, **given) as attention:
            drawn = pipe(**call_arguments(pipe, texts, list(seeds), settings_of(spec))).images
        if not truths:  # the pictures are the same for all rows
            images = [np.array(image) for image in drawn]
            ids = [prompt.targets[0].class_id for prompt in prompts]
            truths = [m == i for m, i in zip(predict(oracle, images), ids, strict=True)]
        finest = max(attention.maps)
        for is_propagated, maps in enumerate((aggregate(attention, finest), propagated(attention))):
            heats = [of[prompt.targets[0].word] for prompt, of in zip(prompts, maps, strict=True)]
            add(row, bool(is_propagated), heats)
    for name, heat_of in HEATS.items():
        add(
            ("control", name, ""),
            False,
            [heat_of(image, (CONTROL_GRID, CONTROL_GRID)) for image in images],
        )
    return scores


def main(
    model: Annotated[str, "name or folder of a model that draws the world of tiny"] = "tiny",
    n: Annotated[int, "pictures per class"] = 5,
    seed: int = 0,
    classes: Annotated[int | None, "so many classes, not all"] = None,
) -> Report:
    """Sample pictures of every class, class by class, and report."""
    spec, vocabulary = resolve(model), load_vocabulary("tiny")
    pipe: Any = load(spec)
    oracle = load_oracle()
    scores: Scores = defaultdict(lambda: defaultdict(list))
    for name in list(names_of(vocabulary))[:classes]:
        prompts, seeds = zip(*prompts_of(vocabulary, [name], range(n), seed), strict=True)
        for row, found in score(pipe, oracle, spec, prompts, seeds).items():
            for is_propagated, ious in found.items():
                scores[row][is_propagated] += ious
        tell(name)
    rows = [
        [*row, *(best(found[one]) if found[one] else "" for one in (False, True))]
        for row, found in scores.items()
    ]
    facts = [f"{n} pictures of `{spec.name}` for each class. Mean IoU at the best threshold."]
    head = ("space", "blocks", "steps", "heat", "after propagation")
    return Report("Which reading shows an object", facts, table(head, rows))
