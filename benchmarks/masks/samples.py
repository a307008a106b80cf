"""What masks are judged on: images with their attention and the truth, kept on disk.

Two kinds of items, each of one prompted object: "generated" are images of the model, whose truth
is what the oracle sees; "renders" are scenes that the model did not make, with exact masks, which
it observes through a little noise. Both keep the attention of every grid, so that every way to
make masks of it can be tried without the model.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32

from benchmarks.judges.oracle import MIN_AREA, load_oracle, predict
from benchmarks.sampling import BATCH_SIZE, prompts_of, settings_of
from diffumask.attention.pooling import matrix_factor, matrix_hw
from diffumask.attention.propagate import propagate
from diffumask.attention.running_means import Attention
from diffumask.masks.area_mean import area_mean
from diffumask.models import ModelSpec, fingerprint, load
from diffumask.prompts.vocabulary import Vocabulary
from diffumask.sampling.observe import TIMESTEPS, observe_attention
from diffumask.sampling.sample import heat_maps, rounded, sample_attention
from diffumask.scenes import render_scene
from diffumask.types import GridHeat, Image, Mask, Prompt, Sample, Target

FIRST_RENDER_SEED = 30_000_000  # far from the seeds that `tiny` and the oracle were trained on
SEEDS_PER_CLASS, SEEDS_PER_RUN = 100_000, 1_000
GENERATED, RENDERS = "generated", "renders"


@dataclass(frozen=True, slots=True)
class Item:
    """An image with one wanted object, what the model attended to, and where the object is.

    `grids` are means of cross-attention by the factor of the grid, `n_heads` how many heads each
    averages, `matrix` is the mean self-attention on the grid that `on_matrix_grid` brings maps to.
    """

    prompt: Prompt
    seed: int
    image: Image
    heat: GridHeat
    grids: Mapping[int, GridHeat]
    n_heads: Mapping[int, int]
    matrix: Float32[np.ndarray, "n n"]
    truth: Mask
    oracle: Mask

    @property
    def class_name(self) -> str:
        """The class of the object."""
        return self.prompt.targets[0].class_name

    @property
    def present(self) -> bool:
        """Whether the truth shows the object on enough of the image."""
        return float(self.truth.mean()) >= MIN_AREA

    @property
    def cells(self) -> GridHeat:
        """The heat on the grid of the matrix."""
        return on_matrix_grid(self.heat, self.grids)

    @property
    def sample(self) -> Sample:
        """The item as `diffumask.sampling.sample` gives it.

        Propagated again, so that kept items serve another way to propagate.
        """
        word = self.prompt.targets[0].word
        spread = propagate(torch.from_numpy(self.cells)[None], torch.from_numpy(self.matrix))
        affinities = rounded({word: spread[0].numpy()})
        return Sample(self.prompt, self.seed, self.image, {word: self.heat}, affinities)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which items: `n` images and `n_renders` scenes of each class."""

    spec: ModelSpec
    vocabulary: Vocabulary
    n: int
    n_renders: int
    seed: int


def matrix_layers(grids: Mapping[int, GridHeat]) -> int:
    """Return the factor of the layers whose self-attention is the matrix."""
    return matrix_factor({factor: (len(grid), len(grid[0])) for factor, grid in grids.items()})


def on_matrix_grid(heat: GridHeat, grids: Mapping[int, GridHeat]) -> GridHeat:
    """Bring a map to the grid of the matrix, which follows from those of cross-attention."""
    layers = grids[matrix_layers(grids)]
    h, w = matrix_hw((len(layers), len(layers[0])))
    return cv2.resize(area_mean(heat, (h, w)), (w, h), interpolation=cv2.INTER_CUBIC)


def gather(plan: Plan, work: Path) -> dict[str, list[Item]]:
    """Return the items of both kinds, made where they are not in `work` yet.

    Batches are written whole or not at all, so a run goes on where it was stopped. A folder
    holds the items of one model; another one has a folder of its own below `work`.
    """
    folder = work / fingerprint(plan.spec)
    folder.mkdir(parents=True, exist_ok=True)
    makers = {GENERATED: (plan.n, _generated), RENDERS: (plan.n_renders, _rendered)}
    items: dict[str, list[Item]] = {kind: [] for kind in makers}
    for kind, (n, make) in makers.items():
        for path, entry, indices in _batches(plan, folder, kind, n):
            if not path.exists():
                _write(path, make(plan, entry, indices))
            items[kind] += read(path)
    return items


def _batches(
    plan: Plan, folder: Path, kind: str, n: int
) -> Iterator[tuple[Path, Any, Sequence[int]]]:
    for entry in plan.vocabulary.classes:
        for start in range(0, n, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, n)
            name = f"{kind}_{plan.seed}_{entry.name.replace(' ', '-')}_{start}_{stop}.npz"
            yield folder / name, entry, range(start, stop)


@cache
def _pipe(spec: ModelSpec) -> Any:
    return load(spec)


def _generated(plan: Plan, entry: Any, indices: Sequence[int]) -> list[Item]:
    """Sample images as `diffumask generate` does."""
    made = prompts_of(plan.vocabulary, [entry.name], indices, plan.seed)
    prompts, seeds = map(list, zip(*made, strict=True))
    settings = settings_of(plan.spec, plan.vocabulary)
    images, attention, *_ = sample_attention(_pipe(plan.spec), prompts, seeds, settings)
    seen = list(predict(load_oracle(), images) == entry.class_id)
    return _items(prompts, seeds, images, attention, seen, seen)


def _rendered(plan: Plan, entry: Any, indices: Sequence[int]) -> list[Item]:
    """Render scenes with one object and let the model look at them."""
    run = SEEDS_PER_CLASS * entry.class_id + SEEDS_PER_RUN * plan.seed
    seeds = [FIRST_RENDER_SEED + run + index for index in indices]
    size_hw = plan.spec.height, plan.spec.width
    scenes = [render_scene(seed, size_hw, class_names=[entry.name]) for seed in seeds]
    target = Target(entry.name, entry.name, entry.class_id)
    prompts = [Prompt(scene.caption, (target,)) for scene in scenes]
    images = [scene.image for scene in scenes]
    attention, _ = observe_attention(
        _pipe(plan.spec), images, prompts, seeds=seeds, timesteps=TIMESTEPS, affinity=True
    )
    truths = [scene.objects[0].mask for scene in scenes]
    seen = list(predict(load_oracle(), images) == entry.class_id)
    return _items(prompts, seeds, images, attention, truths, seen)


def _items(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    images: Sequence[Image],
    attention: Attention,
    truths: Sequence[Mask],
    oracle: Sequence[Mask],
) -> list[Item]:
    maps, factors = attention.maps, attention.factors
    n_heads = {factors[size]: count for size, count in attention.n_heads.items()}
    ((_, matrices),) = attention.self_matrices.items()
    items = []
    for i, (heats, _) in enumerate(heat_maps(attention)):
        (word,) = heats
        columns = list(attention.columns(i, word))
        grids = {factors[size]: maps[size][i, columns].mean(0).cpu().numpy() for size in maps}
        matrix = matrices[i].cpu().numpy()
        of_image = prompts[i], seeds[i], images[i], heats[word], grids, n_heads, matrix
        items.append(Item(*of_image, truths[i], oracle[i]))
    return items


def _write(path: Path, items: Sequence[Item]) -> None:
    texts = [
        {
            "text": one.prompt.text,
            "target": [getattr(one.prompt.targets[0], name) for name in Target.__slots__],
            "seed": one.seed,
        }
        for one in items
    ]
    arrays: dict[str, Any] = {
        name: np.stack([getattr(one, name) for one in items])
        for name in ("image", "heat", "truth", "oracle")
    }
    arrays["matrix"] = np.stack([one.matrix for one in items]).astype(np.float16)
    for factor in items[0].grids:
        arrays[f"grid_{factor}"] = np.stack([one.grids[factor] for one in items])
        arrays[f"heads_{factor}"] = np.array(items[0].n_heads[factor])
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, texts=np.array(json.dumps(texts)), **arrays)
    partial.replace(path)


def read(path: Path) -> list[Item]:
    """Read a batch that `gather` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    factors = sorted(int(name[5:]) for name in stored if name.startswith("grid_"))
    return [
        Item(
            Prompt(text["text"], (Target(*text["target"]),)),
            text["seed"],
            stored["image"][i],
            stored["heat"][i],
            {factor: stored[f"grid_{factor}"][i] for factor in factors},
            {factor: int(stored[f"heads_{factor}"]) for factor in factors},
            stored["matrix"][i].astype(np.float32),
            stored["truth"][i],
            stored["oracle"][i],
        )
        for i, text in enumerate(json.loads(str(stored["texts"])))
    ]
