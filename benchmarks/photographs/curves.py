"""Curves of mIoU against seconds of training: segmentator_photographs.py draws them."""

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import make_report
from diffumask.labelled.folder import Labelled, open_labelled
from diffumask.labelled.labels import Labels
from diffumask.labelled.mapping import ClassSelection
from diffumask.models import load_autoencoder, resolve, vae_fingerprint
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.segmentation.fitting import FitSettings, fit
from diffumask.segmentation.network import Network
from diffumask.segmentation.networks import new_network
from diffumask.segmentation.predict import class_maps
from diffumask.segmentation.training_pairs import InMemory, make_labels
from diffumask.segmentator import Predictor, TrainSettings, load, train_segmentator
from diffumask.segmentator.features import Autoencoder, encode_images
from diffumask.segmentator.heads import DEFAULT_HEAD, n_parameters
from diffumask.segmentator.predict import working_image
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Image

from .sets import PhotographSet
from .taef2 import load_taef2

SIDE = 96
NETWORK, NETWORK_RATE, NETWORK_BATCH = "upernet-tiny", 3e-3, 16
# A batch of 4 took more of 30 s than one of 16: pets 0.780 and 0.757, VOC 0.262 and 0.239, CamVid
# 0.354 and 0.302, by a seed that is none of the benchmark's.
HEAD_BATCH, MOST_VIEWS = 4, 6
ENCODING_SHARE = 0.5  # of the head's time, at most
POINTS = 4  # of a curve
PILOT_STEPS, PILOT_IMAGES = 6, 16
RECONSTRUCTED = 16


def opened(one: PhotographSet, data: Path, split: str, most: int, seed: int = 0) -> Labelled:
    """Open a split, thinned to at most so many images: the first ones of an order by the seed."""
    known = load_vocabulary(one.vocabulary).class_ids if one.vocabulary else None
    selection = ClassSelection(known, one.classes, one.ignored)
    found = open_labelled(data / one.folder, "plain", split, selection)
    order = np.random.default_rng(seed).permutation(len(found)).tolist()
    shown = (at for at in order if not one.shown_only or _shows(found.class_map(at)))
    return replace(found, pairs=tuple(found.pairs[at] for at in islice(shown, most)))


def _shows(class_map: ClassMap) -> bool:
    return bool(((class_map != BACKGROUND_ID) & (class_map != IGNORE_ID)).any())


@dataclass(frozen=True, slots=True)
class Job:
    """A curve to make: on so many labelled images of a set, which the seed chooses."""

    one: PhotographSet
    data: Path
    work: Path
    name: str
    images: int
    held_out: int
    budget_s: float
    seed: int = 0
    autoencoder: Path | None = None
    design: str = DEFAULT_HEAD

    def autoencoder_of(self) -> tuple[Autoencoder, tuple[str, str]]:
        """Load what the head reads, with its name and fingerprint."""
        if self.autoencoder is None:
            spec = resolve("tiny")
            return load_autoencoder(spec, "cpu"), (spec.name, vae_fingerprint(spec))
        return load_taef2(self.autoencoder), ("taef2", "taef2")


def no_more(judged: Labelled, predictor: Predictor) -> dict[str, Any]:
    """Look at a head no further."""
    return {}


def head_curve(job: Job, look: Callable[..., dict[str, Any]] = no_more) -> dict[str, Any]:
    """Train a head for the budget; return its mIoU at some seconds, and what a look at it finds."""
    labelled, judged = _open(job)
    vae, of_vae = job.autoencoder_of()
    folder = job.work / f"{job.name}-{job.design}"
    shutil.rmtree(folder, ignore_errors=True)

    usual = TrainSettings(SIDE, job.design, batch_size=HEAD_BATCH, held_out=0, seed=job.seed)
    labelled, usual = _within(job, vae, of_vae, labelled, usual)
    steps = usual.num_steps or POINTS
    clock = _Clock(folder, steps // POINTS)
    settings = replace(usual, validate_every=steps // POINTS)
    train_segmentator(vae, labelled, settings, of_vae, folder, on_step=clock)
    clock(steps + 1, steps)  # the head of the last step is written after it
    kept = range(steps // POINTS, steps + 1, steps // POINTS)
    heads = [load(folder / f"{step}.safetensors", vae, of_vae[1]) for step in kept]
    predictors = [Predictor(head, vae) for head in heads]
    scores = [miou(judged, predictor) for predictor in predictors]
    points = list(zip((clock.seconds[step] for step in kept), scores, strict=True))
    shutil.rmtree(folder)
    return (
        _facts(points, steps, predictors[-1], judged)
        | look(judged, predictors[-1])
        | {
            "images": len(labelled),
            "views": settings.n_views,
            "psnr_db": reconstruction_db(vae, judged),
            "encoding_s": clock.seconds[0],
            "parameters": n_parameters(heads[-1].head),
        }
    )


def _within(
    job: Job, vae: Autoencoder, of_vae: tuple[str, str], labelled: Labelled, usual: TrainSettings
) -> tuple[Labelled, TrainSettings]:
    """Find by a few steps how many images, views of each and steps fit the budget."""
    pilot, folder = _Clock(), job.work / f"{job.name}-{job.design}-pilot"
    shutil.rmtree(folder, ignore_errors=True)
    few = replace(labelled, pairs=labelled.pairs[:PILOT_IMAGES])
    once = -(-len(few) // HEAD_BATCH)  # steps in which each image is decoded
    twice = 2 * once
    settings = replace(usual, num_steps=twice, n_views=1, validate_every=twice)
    train_segmentator(vae, few, settings, of_vae, folder, on_step=pilot)
    step_s = (pilot.seconds[twice] - pilot.seconds[once]) / once
    view_s = max(pilot.seconds[once] - once * step_s, 1e-3) / len(few)
    shutil.rmtree(folder)
    views = int(ENCODING_SHARE * job.budget_s / view_s)
    fewer = replace(labelled, pairs=labelled.pairs[: max(1, views)])
    n_views = max(1, min(MOST_VIEWS, views // len(fewer)))
    left_s = job.budget_s - view_s * len(fewer) * n_views
    num_steps = max(POINTS, round(left_s / step_s / POINTS) * POINTS)
    return fewer, replace(usual, n_views=n_views, num_steps=num_steps)


def narrow_network(labels: Labels, seed: int) -> Network:
    """Make a network of the design of `upernet-tiny` that learns as many weights as a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
        sizes: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 40], "depths": [1, 1, 1, 1]}
        named: dict[str, Any] = {"num_labels": len(labels)}
        config = UperNetConfig(
            backbone_config=ResNetConfig(embedding_size=8, layer_type="basic", **sizes, **stages),
            hidden_size=20,
            pool_scales=[2, 4],
            use_auxiliary_head=False,
            **named,
        )
        return Network(UperNetForSemanticSegmentation(config), labels, None).eval()


def usual_network(labels: Labels, seed: int) -> Network:
    """Make the network that `train` takes unless told otherwise."""
    return new_network(NETWORK, labels, seed, "cpu")


def network_curve(job: Job, make: Callable[[Labels, int], Network]) -> dict[str, Any]:
    """Train a network for the budget; return its mIoU at some seconds."""
    labelled, judged = _open(job)
    images = InMemory([labelled])
    labels = make_labels([labelled], images.values())
    network = make(labels, job.seed)

    def settings(steps: int) -> FitSettings:
        every = max(1, steps // POINTS)
        return FitSettings(
            steps,
            NETWORK_BATCH,
            NETWORK_RATE,
            size_hw=(SIDE, SIDE),
            checkpoint_every=every,
            seed=job.seed,
        )

    pilot = _Clock()
    fit(make(labels, 0), images, settings(PILOT_STEPS), on_step=pilot)
    step_s = (pilot.seconds[PILOT_STEPS] - pilot.seconds[0]) / PILOT_STEPS
    steps = max(POINTS, round(job.budget_s / step_s / POINTS) * POINTS)
    clock, points = _Clock(), []

    def predict(image: Image) -> ClassMap:
        return class_maps(network, [image])[0]

    def at_checkpoint(step: int) -> None:
        with clock.paused():
            points.append((clock.seconds[step], miou(judged, predict)))

    fit(network, images, settings(steps), on_step=clock, on_checkpoint=at_checkpoint)
    return _facts(points, steps, predict, judged) | {"parameters": n_parameters(network)}


class _Clock:
    """Notes the CPU seconds at each step, and keeps the heads that a training writes over."""

    def __init__(self, folder: Path | None = None, every: int = 0) -> None:
        self.seconds: dict[int, float] = {}
        self.folder, self.every = folder, every
        self.started = time.process_time()

    def __call__(self, step: int, num_steps: int) -> None:
        self.seconds[step] = time.process_time() - self.started
        before = step - 1
        if self.folder and before > 0 and before % self.every == 0:
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
    return (
        opened(job.one, job.data, "train", job.images, job.seed),
        opened(job.one, job.data, job.one.held_out, job.held_out),
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


METHODS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "head": head_curve,
    "narrow": partial(network_curve, make=narrow_network),
    "network": partial(network_curve, make=usual_network),
}
