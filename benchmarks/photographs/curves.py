"""Curves of mIoU against seconds of training: segmentator_photographs.py draws them."""

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import make_report
from diffumask.labelled.folder import Labelled, open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.models import load_autoencoder, resolve, vae_fingerprint
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.segmentation.fitting import FitSettings, fit
from diffumask.segmentation.networks import new_network
from diffumask.segmentation.predict import class_maps
from diffumask.segmentation.training_pairs import InMemory, make_labels
from diffumask.segmentator import Predictor, TrainSettings, load, train_segmentator
from diffumask.segmentator.features import encode_images
from diffumask.segmentator.predict import working_image
from diffumask.types import ClassMap, Image

from .sets import SETS, PhotographSet

SIDE = 96
NETWORK, NETWORK_RATE, NETWORK_BATCH = "upernet-tiny", 3e-3, 16
HEAD_BATCH, N_VIEWS = 4, 2
POINTS = 4  # of a curve
PILOT_STEPS, PILOT_IMAGES = 6, 16
RECONSTRUCTED = 16


def opened(one: PhotographSet, data: Path, split: str, most: int) -> Labelled:
    """Open a split, evenly thinned to at most so many images."""
    known = load_vocabulary(one.vocabulary).class_ids if one.vocabulary else None
    selection = ClassSelection(known, one.classes, one.ignored)
    found = open_labelled(data / one.folder, "plain", split, selection)
    chosen = np.unique(np.linspace(0, len(found) - 1, most).round().astype(int))
    pairs = tuple(found.pairs[index] for index in chosen)
    return Labelled(found.folder, found.layout, found.split, pairs, found.mapping)


@dataclass(frozen=True, slots=True)
class Job:
    """A curve to make."""

    data: Path
    work: Path
    name: str
    images: int
    held_out: int
    budget_s: float


def head_curve(job: Job) -> dict[str, Any]:
    """Train a head for the budget; return its mIoU at some seconds."""
    one, spec = SETS[job.name], resolve("tiny")
    labelled, judged = _open(job)
    vae = load_autoencoder(spec, "cpu")
    of_vae = (spec.name, vae_fingerprint(spec))
    folder = job.work / f"{job.name}-head"
    shutil.rmtree(folder, ignore_errors=True)

    usual = TrainSettings(SIDE, batch_size=HEAD_BATCH, n_views=N_VIEWS, held_out=0)
    pilot = _Clock()
    few = opened(one, job.data, "train", PILOT_IMAGES)
    train_segmentator(vae, few, replace(usual, num_steps=PILOT_STEPS), of_vae, on_step=pilot)
    encoding_s = pilot.seconds[0] * len(labelled) / len(few)
    step_s = (pilot.seconds[PILOT_STEPS] - pilot.seconds[0]) / PILOT_STEPS
    steps = max(POINTS, round((job.budget_s - encoding_s) / step_s / POINTS) * POINTS)

    clock = _Clock(folder, steps // POINTS)
    settings = replace(usual, num_steps=steps, validate_every=steps // POINTS)
    train_segmentator(vae, labelled, settings, of_vae, folder, on_step=clock)
    clock(steps + 1, steps)  # the head of the last step is written after it
    kept = range(steps // POINTS, steps + 1, steps // POINTS)
    heads = [load(folder / f"{step}.safetensors", vae, of_vae[1]) for step in kept]
    predictors = [Predictor(head, vae) for head in heads]
    scores = [miou(judged, predictor) for predictor in predictors]
    points = list(zip((clock.seconds[step] for step in kept), scores, strict=True))
    return _facts(points, steps, predictors[-1], judged) | {
        "psnr_db": reconstruction_db(vae, judged),
        "encoding_s": clock.seconds[0],
    }


def network_curve(job: Job) -> dict[str, Any]:
    """Train the network for the budget; return its mIoU at some seconds."""
    labelled, judged = _open(job)
    images = InMemory([labelled])
    labels = make_labels([labelled], images.values())
    network = new_network(NETWORK, labels, 0, "cpu")

    def settings(steps: int) -> FitSettings:
        every = max(1, steps // POINTS)
        return FitSettings(
            steps, NETWORK_BATCH, NETWORK_RATE, size_hw=(SIDE, SIDE), checkpoint_every=every
        )

    pilot = _Clock()
    fit(new_network(NETWORK, labels, 0, "cpu"), images, settings(PILOT_STEPS), on_step=pilot)
    step_s = (pilot.seconds[PILOT_STEPS] - pilot.seconds[0]) / PILOT_STEPS
    steps = max(POINTS, round(job.budget_s / step_s / POINTS) * POINTS)
    clock, points = _Clock(), []

    def predict(image: Image) -> ClassMap:
        return class_maps(network, [image])[0]

    def at_checkpoint(step: int) -> None:
        with clock.paused():
            points.append((clock.seconds[step], miou(judged, predict)))

    fit(network, images, settings(steps), on_step=clock, on_checkpoint=at_checkpoint)
    return _facts(points, steps, predict, judged)


class _Clock:
    """Notes the CPU seconds at each step, and keeps the heads that a training writes over."""

    def __init__(self, folder: Path | None = None, every: int = 0) -> None:
        self.seconds: dict[int, float] = {}
        self.folder, self.every = folder, every
        self.started = time.process_time()

    def __call__(self, step: int, num_steps: int) -> None:
        self.seconds[step] = time.process_time() - self.started
        before = step - 1
        if self.folder and before and before % self.every == 0:
            shutil.copy(
                self.folder / "checkpoint.safetensors", self.folder / f"{before}.safetensors"
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done in the block."""
        at = time.process_time()
        yield
        self.started += time.process_time() - at


def miou(labelled: Labelled, predict: Callable[[Image], ClassMap]) -> float:
    """Judge a predictor on the held-out images."""
    return make_report(
        compare_network(labelled, predict, lambda count: None), labelled.mapping
    ).miou


def reconstruction_db(vae: Any, labelled: Labelled) -> float:
    """Return the mean peak signal-to-noise ratio of images that went through the autoencoder."""
    ratios = []
    for index in range(min(RECONSTRUCTED, len(labelled))):
        image = working_image(labelled[index].image, SIDE)[:SIDE, :SIDE]
        with torch.no_grad():
            pixels = vae.decode(encode_images(vae, image[None]))[0]
        back = (pixels[0].permute(1, 2, 0).numpy().clip(-1, 1) + 1) * 127.5
        ratios.append(10 * np.log10(255**2 / np.mean((back - image) ** 2)))
    return float(np.mean(ratios))


def _open(job: Job) -> tuple[Labelled, Labelled]:
    one = SETS[job.name]
    return (
        opened(one, job.data, "train", job.images),
        opened(one, job.data, one.held_out, job.held_out),
    )


def _facts(
    points: list[tuple[float, float]], steps: int, predict: Any, judged: Labelled
) -> dict[str, Any]:
    image = judged[0].image
    started = time.process_time()
    for _ in range(5):
        predict(image)
    return {
        "points": points,
        "steps": steps,
        "inference_s": (time.process_time() - started) / 5,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


METHODS: dict[str, Callable[[Job], dict[str, Any]]] = {"head": head_curve, "network": network_curve}
