"""Generate with a model of the world of `tiny`, and let the oracle and the classifier look."""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from jaxtyping import Float
from torch.nn import functional

from benchmarks.judges.classifier import (
    crop_around,
    judged,
    load_classifier,
    render_crops,
    sub_class_names,
)
from benchmarks.judges.distance import frechet
from benchmarks.judges.oracle import MIN_AREA, load_oracle, predict
from benchmarks.report import tell
from benchmarks.sampling import batches, names_of, prompts_of, settings_of
from diffumask.masks.enlarge import enlarge
from diffumask.models import ModelSpec
from diffumask.prompts.vocabulary import Vocabulary
from diffumask.sampling.sample import sample
from diffumask.scenes import load_catalog, render_scene
from diffumask.tiny.autoencoder import decode, encode, to_tensor
from diffumask.types import ClassMap, Heat, Image, Mask, Prompt, Sample

RENDERS_SEED = 80_000_000  # of the crops that the Fréchet distance compares with


@dataclass(frozen=True, slots=True)
class Judged:
    """One generated image of one object.

    `truth` is where the oracle sees the prompted class; `named` and `named_sub_class` are what the
    classifier calls the crop around all that the oracle takes for an object.
    """

    prompt: Prompt
    image: Image
    heat: Heat
    truth: Mask
    named: str
    named_sub_class: str
    features: Float[np.ndarray, " f"]
    seconds: float

    @property
    def class_name(self) -> str:
        """The class that was asked for."""
        return self.prompt.targets[0].class_name

    @property
    def is_present(self) -> bool:
        """Whether the oracle sees the class on enough of the image."""
        return float(self.truth.mean()) >= MIN_AREA


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """One generated image of a prompt with two objects.

    Both are present where the oracle sees enough of each, and told apart where the classifier gives
    the crop around each its own class: a merged thing has one name.
    """

    class_names: tuple[str, str]
    are_present: bool
    are_told_apart: bool


def judge(
    pipe: DiffusionPipeline, spec: ModelSpec, vocabulary: Vocabulary, n: int, run_seed: int
) -> Iterator[Judged]:
    """Generate `n` images of every class, prompts and seeds as `diffumask generate` has them."""
    classifier, labels, names = load_classifier(), sub_class_names(), list(load_catalog().classes)
    for samples, class_maps, seconds in _generated(pipe, spec, vocabulary, n, run_seed, objects=1):
        shown = [
            crop_around(one.image, class_map > 0)
            for one, class_map in zip(samples, class_maps, strict=True)
        ]
        classes, sub_classes, features = judged(classifier, shown)
        for i, (one, class_map) in enumerate(zip(samples, class_maps, strict=True)):
            (target,) = one.prompt.targets
            yield Judged(
                one.prompt,
                one.image,
                enlarge(one.heats[target.word], class_map.shape),
                class_map == target.class_id,
                names[int(classes[i].argmax())],
                labels[int(sub_classes[i].argmax())][1],
                features[i],
                seconds,
            )


def judge_pairs(
    pipe: DiffusionPipeline, spec: ModelSpec, vocabulary: Vocabulary, n: int, run_seed: int
) -> Iterator[JudgedPair]:
    """Generate `n` images for every class, each with an object of another class beside it."""
    classifier, names = load_classifier(), list(load_catalog().classes)
    for samples, class_maps, _ in _generated(pipe, spec, vocabulary, n, run_seed, objects=2):
        for one, class_map in zip(samples, class_maps, strict=True):
            first, second = one.prompt.targets
            masks = [class_map == target.class_id for target in (first, second)]
            crops = [crop_around(one.image, mask) for mask in masks]
            classes, _, _ = judged(classifier, crops)
            wanted = first.class_name, second.class_name
            present = all(mask.mean() >= MIN_AREA for mask in masks)
            apart = [names[int(row.argmax())] for row in classes] == list(wanted)
            yield JudgedPair(wanted, present, present and apart)


def distance_to_renders(rows: Sequence[Judged]) -> float:
    """Return the Fréchet distance to as many crops of renders, in the classifier's features."""
    crops, _ = render_crops(RENDERS_SEED, len(rows), "train", strong=False)
    _, _, wanted = judged(load_classifier(), list(crops))
    return frechet(np.stack([one.features for one in rows]).astype(float), wanted.astype(float))


@torch.no_grad()
def autoencoder_psnr_db(vae: AutoencoderKL, count: int = 100) -> float:
    """Return the PSNR of unseen renders that were encoded and decoded, of their mean error."""
    squares = []
    for seed in range(RENDERS_SEED, RENDERS_SEED + count):
        image = to_tensor(render_scene(seed).image[None])
        rebuilt = decode(vae, encode(vae, image).mode()).clamp(-1, 1)
        squares.append(functional.mse_loss(rebuilt, image).item())
    return -10 * math.log10(statistics.mean(squares) / 4)


def _generated(
    pipe: DiffusionPipeline,
    spec: ModelSpec,
    vocabulary: Vocabulary,
    n: int,
    run_seed: int,
    objects: int,
) -> Iterator[tuple[list[Sample], Sequence[ClassMap], float]]:
    """Yield batches: samples, what the oracle sees on each, and the seconds an image."""
    oracle = load_oracle()
    settings = settings_of(spec, vocabulary)
    jobs = prompts_of(vocabulary, names_of(vocabulary), range(n), run_seed, objects)
    done = 0
    for batch in batches(jobs):
        prompts, seeds = zip(*batch, strict=True)
        started = time.perf_counter()
        samples = sample(pipe, prompts, seeds, settings)
        seconds = (time.perf_counter() - started) / len(batch)
        yield samples, list(predict(oracle, [one.image for one in samples])), seconds
        done += len(batch)
        tell(f"{done}/{len(jobs)} images")
