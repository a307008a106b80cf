"""What masks are judged on: images with their attention and the truth, kept on disk.

Some images the model makes, and their truth is what the oracle sees; the others are scenes with
exact truth, which it observes through a little noise. Every image is looked at a second time with a
wrong word in its prompt. The attention is kept as it was captured, so that every way to make masks
of it can be tried without the model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.judges.oracle import load_oracle, predict
from benchmarks.report import tell
from benchmarks.sampling import BATCH_SIZE, settings_of
from diffumask.attention.running_means import Attention
from diffumask.metrics import iou
from diffumask.models import ModelSpec, fingerprint, load
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import Vocabulary, load_vocabulary
from diffumask.proof.controls import with_wrong_word
from diffumask.proof.figures import ASKED
from diffumask.sampling.observe import TIMESTEPS, observe_attention
from diffumask.sampling.presence import presences_of
from diffumask.sampling.sample import heat_maps, sample_attention
from diffumask.types import ClassMap, Image, Prompt

from .items import Item, Seen, write
from .scenes import KINDS, Drawn, Split, classes_of, draw, random_of


@dataclass(frozen=True, slots=True)
class Plan:
    """Which items: `n` of some kinds, for each class of one side of the split, or some of them."""

    spec: ModelSpec
    split: Split
    kinds: Sequence[str]
    n: int
    photographs: Sequence[Path] = ()
    classes: Sequence[str] = ()

    @property
    def size_hw(self) -> tuple[int, int]:
        """The size of all images."""
        return self.spec.height, self.spec.width


def gather(plan: Plan, work: Path) -> list[Path]:
    """Return the files of the items, each made where it is not in `work` yet.

    A file is written whole or not at all, so a run goes on where it was stopped. A folder holds
    the items of one model; another one has a folder of its own below `work`.
    """
    folder = work / fingerprint(plan.spec)
    batches = list(_batches(plan))
    for done, (name, kind, class_name, indices) in enumerate(batches, start=1):
        if not (folder / name).exists():
            make = _generated if KINDS[kind].generated else _observed
            write(folder / name, make(plan, kind, class_name, indices))
            tell(f"{done}/{len(batches)} batches: {KINDS[kind].title}, {class_name}")
    return [folder / name for name, *_ in batches]


def _batches(plan: Plan) -> Iterator[tuple[str, str, str, Sequence[int]]]:
    for kind in plan.kinds:
        of_photographs = plan.photographs if KINDS[kind].ground == "photograph" else ()
        of = "".join(f"-{folder.resolve().parent.name}" for folder in of_photographs)
        for class_name in classes_of(KINDS[kind], plan.split, plan.classes):
            for start in range(0, plan.n, BATCH_SIZE):
                stop = min(start + BATCH_SIZE, plan.n)
                words = f"{plan.split.name}_{kind}{of}_{class_name}_{start}_{stop}"
                yield f"{words.replace(' ', '-')}.npz", kind, class_name, range(start, stop)


@cache
def _pipe(spec: ModelSpec) -> Any:
    return load(spec)


def _observed(plan: Plan, kind: str, class_name: str, indices: Sequence[int]) -> list[Item]:
    """Draw scenes and let the model look at them."""
    photographs = [path for folder in plan.photographs for path in sorted(folder.iterdir())]
    of = plan.split, plan.size_hw, photographs
    drawn = [draw(kind, class_name, index, *of) for index in indices]
    images = [one.image for one in drawn]
    looked = _look(plan, images, [one.prompt for one in drawn], [one.seed for one in drawn])
    class_id = drawn[0].prompt.targets[0].class_id
    seen = predict(load_oracle(), images) == class_id
    oracle = [iou(mask, one.truth == ASKED) for mask, one in zip(seen, drawn, strict=True)]
    return _items(plan, kind, class_name, drawn, looked, oracle)


def _generated(plan: Plan, kind: str, class_name: str, indices: Sequence[int]) -> list[Item]:
    """Sample images as `diffumask generate` does, and let the oracle see them."""
    rngs = [random_of(plan.split, kind, class_name, index) for index in indices]
    seeds = [int(rng.integers(*plan.split.seeds)) for rng in rngs]
    whole, prompts = prompts_of(plan.split, kind, class_name, seeds)
    settings = replace(settings_of(plan.spec, of_split(plan.split)), presence=True)
    sampled = sample_attention(_pipe(plan.spec), prompts, seeds, settings)
    drawn = []
    for i, truth in enumerate(truths_of(sampled.images, whole)):
        named = {target.class_name for target in whole[i].targets}
        wrong = str(rngs[i].choice([name for name in plan.split.classes if name not in named]))
        drawn.append(Drawn(seeds[i], sampled.images[i], prompts[i], wrong, truth))
    assert sampled.latents is not None
    looked = _seen(plan, sampled.attention, sampled.latents, prompts, seeds)
    return _items(plan, kind, class_name, drawn, looked, [np.nan] * len(drawn))


def prompts_of(
    split: Split, kind: str, class_name: str, seeds: Sequence[int]
) -> tuple[list[Prompt], list[Prompt]]:
    """Return prompts of a generated kind, with all that they name as targets and as asked."""
    whole = [build(of_split(split), class_name, seed, KINDS[kind].objects) for seed in seeds]
    asked = [one.targets if KINDS[kind].all_asked else one.targets[:1] for one in whole]
    return whole, [replace(one, targets=of) for one, of in zip(whole, asked, strict=True)]


def truths_of(images: Sequence[Image], whole: Sequence[Prompt]) -> list[ClassMap]:
    """Return what the oracle sees of all that prompts name."""
    truths = []
    for class_map, prompt in zip(predict(load_oracle(), images), whole, strict=True):
        truth = np.zeros_like(class_map)
        for label, target in enumerate(prompt.targets, start=ASKED):
            truth[class_map == target.class_id] = label
        truths.append(truth)
    return truths


def of_split(split: Split) -> Vocabulary:
    """Return the vocabulary of `tiny` with the classes of one side, for partners too."""
    vocabulary = load_vocabulary("tiny")
    return replace(vocabulary, classes=tuple(vocabulary.find(name) for name in split.classes))


def _look(
    plan: Plan, images: Sequence[Image], prompts: Sequence[Prompt], seeds: Sequence[int]
) -> list[Seen]:
    of_images = {"seeds": seeds, "timesteps": TIMESTEPS, "affinity": True}
    observed = observe_attention(_pipe(plan.spec), images, prompts, **of_images)
    return _seen(plan, observed.attention, observed.latents, prompts, seeds)


def _items(
    plan: Plan,
    kind: str,
    class_name: str,
    drawn: Sequence[Drawn],
    right: Sequence[Seen],
    oracle: Sequence[float],
) -> list[Item]:
    images, seeds = [one.image for one in drawn], [one.seed for one in drawn]
    wrong = _look(plan, images, [with_wrong_word(one.prompt, one.wrong) for one in drawn], seeds)
    items = []
    for i, one in enumerate(drawn):
        of_image = one.seed, one.image, one.truth, right[i], wrong[i]
        items.append(Item(kind, class_name, *of_image, float(oracle[i])))
    return items


def _seen(
    plan: Plan,
    attention: Attention,
    latents: Tensor,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
) -> list[Seen]:
    """Return what was captured of each image of a batch, and what its targets explain of it."""
    of_words = presences_of(_pipe(plan.spec), latents, prompts, seeds, heat_maps(attention))
    factors, maps = attention.factors, attention.maps
    n_heads = {factors[hw]: count for hw, count in attention.n_heads.items()}
    ((matrix_hw, matrices),) = attention.self_matrices.items()
    seen = []
    for i, prompt in enumerate(prompts):
        columns = {word: attention.columns(i, word) for word in attention.words[i]}
        used = 1 + max(max(of_word) for of_word in columns.values())
        grids = {factors[hw]: one[i, :used].cpu().numpy() for hw, one in maps.items()}
        matrix = matrices[i].cpu().numpy()
        seen.append(Seen(prompt, columns, grids, n_heads, matrix_hw, matrix, of_words[i]))
    return seen
