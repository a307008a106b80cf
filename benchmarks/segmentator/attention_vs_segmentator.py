"""Attention, a Segmentator or both: how good are their masks, and for how many labels?

Images of `tiny` are judged by the oracle, single-class prompts of the classes of the proof. Heads
are trained on renders with exact masks, on more and more of the same ones. `--data` is a dataset
made with `--keep-maps`; without it one is made. What the decoder saw while an image was made is
lost, so images are encoded and decoded again. What is done stays in --work.
"""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool

from benchmarks.commands import diffumask
from benchmarks.judges.oracle import MIN_AREA, load_oracle, predict
from benchmarks.proof.world import CLASS_IDS, SEEN, UNSEEN
from benchmarks.report import Report, tell
from benchmarks.sampling import batches
from diffumask.dataset.decode import read_image
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import read_maps
from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import MaskSource
from diffumask.metrics import boundary_f, boundary_tolerance_px, iou
from diffumask.models import load_autoencoder, resolve, vae_fingerprint
from diffumask.scenes import load_catalog
from diffumask.segmentator import (
    Segmentator,
    SegmentatorSource,
    TrainSettings,
    load,
    save,
    train_segmentator,
)
from diffumask.segmentator.features import Autoencoder, decoded_states, encode_images
from diffumask.segmentator.heads import probabilities
from diffumask.segmentator.source import objects_of
from diffumask.types import Sample

from .scenes import open_scenes
from .tables import Judged, Setup, report

SIZES = (10, 30, 100, 300, 800)
UNSEEN_SIZE = 300  # labelled images of the head that was not taught some classes
LEAST_ENCODINGS = 400  # few images are encoded in more versions each
OUT_OF_DISTRIBUTION = 3  # prompts of a class
AT_ONCE = 16
MASKS = MaskSettings(uncertain_band=0.0)  # so that each pixel has a label


@dataclass(frozen=True, slots=True)
class Taught:
    """A head to train: on the first renders of some classes, of which it learns names or none."""

    count: int
    names: tuple[str, ...] = tuple(CLASS_IDS)
    class_agnostic: bool = False

    def __str__(self) -> str:
        agnostic = " of any class" if self.class_agnostic else ""
        untaught = len(CLASS_IDS) - len(self.names)
        return f"{self.count}{agnostic}" + (f", {untaught} not taught" if untaught else "")


def train_head(work: Path, vae: Autoencoder, one: Taught, steps: int | None) -> Path:
    """Train a head, unless it is there; return its file."""
    name = f"head-{one}".replace(",", "").replace(" ", "-")
    path = work / f"{name}.safetensors"
    if path.exists():
        return path
    spec = resolve("tiny")
    scenes = work / f"scenes-{len(one.names)}-classes"
    labelled = open_scenes(scenes, max(one.count, UNSEEN_SIZE), one.names, "train", 0)[: one.count]
    settings = TrainSettings(
        spec.height,
        num_steps=steps,
        n_views=max(TrainSettings(side=1).n_views, math.ceil(LEAST_ENCODINGS / one.count)),
        class_agnostic=one.class_agnostic,
    )
    started = time.process_time()
    trained = train_segmentator(
        vae, labelled, settings, (spec.name, vae_fingerprint(spec)), work / name
    )
    facts = {
        "cpu_s": time.process_time() - started,
        "unknown": list(trained.unseen),
        "steps": trained.segmentator.facts.training["steps"],
    }
    (work / f"{name}.json").write_text(json.dumps(facts), "utf-8")
    save(trained.segmentator, vae, path)
    return path


def kept_samples(folder: Path, per_class: int) -> list[Sample]:
    """Read the first items of each class of a dataset, with their heat maps."""
    samples = []
    for record in read_records(folder):
        if (record.index or 0) < per_class and record.class_name in CLASS_IDS:
            heats, affinities = read_maps(folder, record)
            image = read_image(folder, record)
            prompt = record.prompt
            samples.append(Sample(prompt, record.seed, image, heats, affinities))
    return samples


def generated(work: Path, per_class: int) -> Path:
    """Make a dataset by the command that users call."""
    names = [part for name in CLASS_IDS for part in ("--class", name)]
    arguments = ["--n", str(per_class), "--seed", "5", "--keep-maps"]
    diffumask("generate", *names, *arguments, "--out", work / "generated")
    return work / "generated"


def out_of_distribution(work: Path) -> Path:
    """Make images of prompts that join a class with sub-classes of others, as no caption does."""
    rng = np.random.default_rng(0)
    known, grounds = load_catalog().classes, list(load_catalog().backgrounds.values())
    rows = []
    for name in CLASS_IDS:
        own = set(known[name].sub_classes("train"))
        foreign = sorted(
            {sub for one in CLASS_IDS for sub in known[one].sub_classes("train")} - own
        )
        for sub in rng.choice(foreign, OUT_OF_DISTRIBUTION, replace=False):
            ground = grounds[rng.integers(len(grounds))].phrase
            rows.append({"prompt": f"a picture of a {sub} {name} {ground}", "class": name})
    prompts, folder = work / "out-of-distribution.jsonl", work / "out-of-distribution"
    prompts.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    arguments = ["--prompts", str(prompts), "--n", str(OUT_OF_DISTRIBUTION), "--keep-maps"]
    diffumask("generate", *arguments, "--out", folder)
    return folder


def judge(
    samples: Sequence[Sample], heads: Mapping[str, Segmentator], vae: Autoencoder, any_class: bool
) -> Judged:
    """Make the masks of every source and compare those of the prompt's class with the oracle's.

    With `any_class` the oracle need not name what it sees: it does not know odd objects either.
    """
    judged, truths = Judged([], {}, {}, {}, 0), oracle_masks(samples, any_class)
    left_out = 0
    for done, (one, truth) in enumerate(zip(samples, truths, strict=True), 1):
        if truth.mean() < MIN_AREA:
            left_out += 1
            continue
        judged.classes.append(one.prompt.targets[0].class_name)
        _add(judged, "attention", one, truth, MASKS)
        states = decoded_states(vae, encode_images(vae, one.image[None]))
        for name, segmentator in heads.items():
            started = time.process_time()
            seen = replace(one, objects=objects(segmentator, states, one))
            spent = time.process_time() - started
            source = SegmentatorSource(segmentator, vae)
            alone = replace(MASKS, source=MaskSource(source, fused=False), refiner="none")
            _add(judged, f"segmentator {name}", seen, truth, alone, spent)
            fused = replace(MASKS, source=MaskSource(source, fused=True))
            _add(judged, f"fused {name}", seen, truth, fused, spent)
        if not done % 25:
            tell(f"{done}/{len(samples)} images judged")
    per_image = {name: spent / len(judged.classes) for name, spent in judged.cpu_s.items()}
    return replace(judged, cpu_s=per_image, left_out=left_out)


@torch.no_grad()
def objects(segmentator: Segmentator, states: Sequence[torch.Tensor | None], one: Sample):
    """Return what a head sees of hidden states that were kept whole."""
    head = segmentator.head
    kept = [None if s is None else head.reduce(place, s) for place, s in enumerate(states)]
    planes = probabilities(head(kept))[0].numpy()
    return objects_of(planes, segmentator.facts.labels, one.prompt.targets)


def oracle_masks(samples: Sequence[Sample], any_class: bool) -> list[Bool[np.ndarray, "h w"]]:
    """Return where the oracle sees the class of each prompt, or any class at all."""
    oracle, masks = load_oracle(), []
    for batch in batches(samples, AT_ONCE):
        class_maps = predict(oracle, [one.image for one in batch])
        ids = [one.prompt.targets[0].class_id for one in batch]
        masks += [
            found > 0 if any_class else found == wanted
            for found, wanted in zip(class_maps, ids, strict=True)
        ]
    return masks


def _add(
    judged: Judged,
    name: str,
    one: Sample,
    truth: Bool[np.ndarray, "h w"],
    settings: MaskSettings,
    spent_s: float = 0.0,
) -> None:
    started = time.process_time()
    mask = make_class_map(one, settings).class_map == one.prompt.targets[0].class_id
    judged.cpu_s[name] = judged.cpu_s.get(name, 0.0) + spent_s + time.process_time() - started
    tolerance = boundary_tolerance_px((truth.shape[0], truth.shape[1]))
    judged.iou.setdefault(name, []).append(iou(mask, truth))
    judged.boundary_f.setdefault(name, []).append(boundary_f(mask, truth, tolerance))


def main(
    work: Annotated[Path, "where all is kept"],
    data: Annotated[Path | None, "a dataset made with --keep-maps"] = None,
    n: Annotated[int, "images of each class"] = 16,
    steps: Annotated[int | None, "of each head; by default until it gets no better"] = None,
    sizes: Annotated[Sequence[int], "labelled images of the heads"] = SIZES,
) -> Report:
    """Train and judge what is missing."""
    spec = resolve("tiny")
    work.mkdir(parents=True, exist_ok=True)
    vae = load_autoencoder(spec, "cpu")
    taught = [
        Taught(count, class_agnostic=agnostic) for agnostic in (False, True) for count in sizes
    ]
    few = [Taught(UNSEEN_SIZE, tuple(SEEN), agnostic) for agnostic in (False, True)]
    usual = [Taught(UNSEEN_SIZE, class_agnostic=agnostic) for agnostic in (False, True)]
    every = {str(one): one for one in (*taught, *few, *usual)}
    paths = {name: train_head(work, vae, one, steps) for name, one in every.items()}
    heads = {name: load(path, vae, vae_fingerprint(spec)) for name, path in paths.items()}
    made = {
        "generated": lambda: kept_samples(data or generated(work, n), n),
        "out of distribution": lambda: kept_samples(out_of_distribution(work), sys.maxsize),
    }
    results = {}
    for kind, samples in made.items():
        path = work / f"judged-{kind.replace(' ', '-')}.json"
        if not path.exists():
            found = judge(samples(), heads, vae, any_class=kind != "generated")
            path.write_text(json.dumps(asdict(found)), "utf-8")
        results[kind] = Judged(**json.loads(path.read_bytes()))
    trained = {
        name: json.loads(path.with_suffix(".json").read_bytes()) for name, path in paths.items()
    }
    names = [str(one) for one in taught]
    compared = [str(one) for one in (*few, *usual)]
    return report(results, trained, Setup(sizes, names, compared, UNSEEN))
