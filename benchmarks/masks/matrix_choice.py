"""At how many steps and layers must self-attention be seen? Masks by fewer beside those by all.

Each picture is made, or a scene with exact truth looked at, once; what its layers attend to at
every step is added to the matrices of all rows that count it. Heat is propagated along each of
these, and masked as the package does. A row of strides (s, l) has every s-th step and every l-th
of the layers that have the matrix's grid. Losses are differences of the same pictures. Of `tiny`
the defaults in `diffumask/attention/defaults.py` follow from the classes of dev.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.judges.oracle import MIN_AREA
from benchmarks.report import Report, table, tell
from benchmarks.sampling import batches, settings_of
from diffumask.attention.families import network_of
from diffumask.attention.pooling import matrix_factor
from diffumask.attention.probabilities import pixel_attention
from diffumask.attention.projecting import heads_apart
from diffumask.attention.running_means import Attention, halved
from diffumask.attention.steps import evenly_spaced
from diffumask.masks.settings import MaskSettings
from diffumask.models import ModelSpec, load, resolve
from diffumask.proof.estimates import Estimate, estimate
from diffumask.proof.figures import ASKED, figures_of
from diffumask.sampling.observe import TIMESTEPS, observe_attention
from diffumask.sampling.sample import heat_maps, sample_attention
from diffumask.types import ClassMap, Image, Prompt, Sample

from .methods import masked
from .samples import of_split, prompts_of, truths_of
from .scenes import KINDS, Split, classes_of, draw, load_split, random_of

Strides = tuple[int, int]  # of steps, of layers
ALL: Strides = (1, 1)
CHOICES: list[Strides] = [*itertools.product((1, 2, 4, 5, 10), (1, 2)), (1, 3), (4, 3), (5, 3)]
BATCH_SIZE = 5  # each row has a matrix of each picture
Ious = dict[Strides | None, list[float]]  # of each picture; None is heat without propagation


class Matrices:
    """The mean self-attention of one batch by each choice of steps and layers."""

    def __init__(self, pipe: Any, spec: ModelSpec, n_images: int, n_evaluations: int) -> None:
        network = network_of(pipe.unet, pipe)
        latent_hw = (spec.height // pipe.vae_scale_factor, spec.width // pipe.vae_scale_factor)
        sizes = {
            network.factor(one): halved(latent_hw, network.factor(one)) for one in network.layers
        }
        grid = matrix_factor(sizes)
        self.size_hw = sizes[grid]
        layers = network.self_layers()
        self.layers: list[Any] = [
            one for name, one in layers.items() if network.factor(name) == grid
        ]
        self.unet, self.n_images, self.evaluation = pipe.unet, n_images, -1
        self.counted = {
            strides: tuple(
                set(evenly_spaced(n, stride))
                for n, stride in zip((n_evaluations, len(self.layers)), strides, strict=True)
            )
            for strides in CHOICES
        }
        self.sums: dict[Strides, Tensor] = {}

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Look at the projections of each layer at each evaluation."""
        queries: dict[int, Tensor] = {}

        def step(*_: Any) -> None:
            self.evaluation += 1

        def keep(i: int) -> Any:
            return lambda _module, _args, made: queries.__setitem__(i, made)

        def add(i: int) -> Any:
            return lambda _module, _args, made: self._add(i, queries.pop(i), made)

        with ExitStack() as hooks:
            hooks.callback(self.unet.register_forward_pre_hook(step).remove)
            for i, layer in enumerate(self.layers):
                hooks.callback(layer.to_q.register_forward_hook(keep(i)).remove)
                hooks.callback(layer.to_k.register_forward_hook(add(i)).remove)
            yield

    @torch.no_grad()
    def _add(self, index: int, q: Tensor, k: Tensor) -> None:
        layer = self.layers[index]
        q, k = (heads_apart(one[-self.n_images :], layer.heads) for one in (q, k))
        matrix = pixel_attention(q, k, layer.scale)
        for strides, (steps, layers) in self.counted.items():
            if self.evaluation in steps and index in layers:
                self.sums[strides] = self.sums.get(strides, 0) + matrix

    def put(self, attention: Attention, strides: Strides) -> None:
        """Give attention that has no matrix that of a choice; one that has it loses it."""
        sums = attention.matrix(self.size_hw, torch.zeros(self.n_images, 0))
        steps, layers = self.counted[strides]
        sums.total[:] = self.sums[strides].unflatten(-1, self.size_hw)
        sums.count_of("all").fill_(len(steps) * len(layers))


def ious_of(
    attention: Attention,
    matrices: Matrices,
    images: Sequence[Image],
    prompts: Sequence[Prompt],
    truths: Sequence[ClassMap],
) -> Ious:
    """Mask the first word of each picture by all choices, and compare."""
    found: Ious = defaultdict(list)
    for strides in (None, *CHOICES):
        settings = MaskSettings(heat="attention" if strides is None else "affinity")
        if strides is not None:
            matrices.put(attention, strides)
        for i, (heats, affinities) in enumerate(heat_maps(attention)):
            made = masked(Sample(prompts[i], 0, images[i], heats, affinities), settings)
            iou = figures_of(made.mask, truths[i], open_px=made.open_px).iou
            shown = (truths[i] == ASKED).mean() >= MIN_AREA
            found[strides].append(iou if shown else np.nan)
    return found


def generated(
    pipe: Any, spec: ModelSpec, split: Split, kind: str, class_name: str, indices: Sequence[int]
) -> Ious:
    """Sample pictures as `diffumask generate` does; the oracle says what they show."""
    rngs = [random_of(split, kind, class_name, index) for index in indices]
    seeds = [int(rng.integers(*split.seeds)) for rng in rngs]
    whole, prompts = prompts_of(split, kind, class_name, seeds)
    settings = replace(settings_of(spec, of_split(split)), affinity=False)
    matrices = Matrices(pipe, spec, len(seeds), settings.num_inference_steps)
    with matrices.seen():
        sampled = sample_attention(pipe, prompts, seeds, settings)
    truths = truths_of(sampled.images, whole)
    return ious_of(sampled.attention, matrices, sampled.images, prompts, truths)


def observed(
    pipe: Any, spec: ModelSpec, split: Split, kind: str, class_name: str, indices: Sequence[int]
) -> Ious:
    """Look at scenes with exact truth as `observe` does; its timesteps are the steps."""
    drawn = [draw(kind, class_name, i, split, (spec.height, spec.width)) for i in indices]
    images, prompts = [one.image for one in drawn], [one.prompt for one in drawn]
    matrices = Matrices(pipe, spec, len(drawn), len(TIMESTEPS))
    with matrices.seen():
        seeds = [one.seed for one in drawn]
        attention, _ = observe_attention(pipe, images, prompts, seeds=seeds, timesteps=TIMESTEPS)
    return ious_of(attention, matrices, images, prompts, [one.truth for one in drawn])


def main(
    split: Annotated[str, "side of the split", ["dev", "test"]] = "dev",
    n: Annotated[int, "pictures per class and kind"] = 10,
    kinds: Annotated[Sequence[str], "of scenes", KINDS] = ("made_one", "made_two", "one", "two"),
) -> Report:
    """Make all masks, class by class, and report."""
    spec, side = resolve("tiny"), load_split(split)
    pipe = load(spec)
    ious: dict[str, Ious] = {kind: defaultdict(list) for kind in kinds}
    classes: dict[str, list[str]] = {kind: [] for kind in kinds}
    for kind in kinds:
        look = generated if KINDS[kind].generated else observed
        for class_name in classes_of(KINDS[kind], side):
            for indices in batches(range(n), BATCH_SIZE):
                for choice, found in look(pipe, spec, side, kind, class_name, indices).items():
                    ious[kind][choice] += found
                classes[kind] += [class_name] * len(indices)
            tell(f"{KINDS[kind].title}, {class_name}")
    lines = [line for part in tables(ious, classes) for line in part]
    facts = [
        f"{n} pictures of `tiny` for each class of {split} and kind, {spec.num_inference_steps}"
        f" steps; of scenes that are looked at the steps are {len(TIMESTEPS)} timesteps.",
        "Mean over classes of the IoU by picture; in brackets 95 % intervals of a bootstrap.",
        "A loss is that of all steps and layers less that of the row, of the same pictures.",
    ]
    return Report("How much self-attention must be seen", facts, lines)


def tables(ious: dict[str, Ious], classes: dict[str, list[str]]) -> Iterator[list[str]]:
    """Write what each row loses: of all pictures that are made, of all that are looked at."""
    for made, title in ((True, "Pictures that are made"), (False, "Pictures that are looked at")):
        chosen = [kind for kind in ious if KINDS[kind].generated == made]
        if not chosen:
            continue
        # a class of each kind is a class of its own, so that kinds count alike
        names = [f"{kind}: {one}" for kind in chosen for one in classes[kind]]
        rows = []
        for choice in (None, *CHOICES):
            own, control = (
                np.array([iou for kind in chosen for iou in ious[kind][one]])
                for one in (choice, ALL)
            )
            lost = "" if choice == ALL else four_digits(estimate(control - own, names))
            told = ("no propagation", "", "") if choice is None else told_of(choice)
            rows.append((*told, f"{estimate(own, names).mean:.4f}", lost))
        titles = ", ".join(KINDS[kind].title.removeprefix("generated: ") for kind in chosen)
        head = ("steps", "layers", "share", "IoU", "lost")
        yield [f"## {title}: {titles}", "", *table(head, rows), ""]


def four_digits(one: Estimate) -> str:
    """Write a difference as finely as it is asked about."""
    return f"{one.mean:+.4f} ({one.low:+.4f} to {one.high:+.4f})"


def told_of(choice: Strides) -> tuple[str, str, str]:
    """Tell a choice, and what share of all matrices it computes."""
    steps, layers = ("all" if one == 1 else f"1 of {one}" for one in choice)
    return steps, layers, f"{1 / (choice[0] * choice[1]):.0%}"
