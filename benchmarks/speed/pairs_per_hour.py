"""How many pairs of image and mask an hour? `generate`, plain diffusers, and DiffuMask's settings.

All draw the same prompts with the same pipeline and leave files, round after round in random
order: plain diffusers saves images alone; `generate` makes whole items with its defaults; the
released settings of DiffuMask are written anew from their description. They draw one prompt at a
time in 50 steps, store all self- and cross-attention, keep 20 maps and two planes of 21 classes an
image as arrays (65 MB at 512 px), and run 22 mean fields of 21 labels; their AffinityNet and its
training are left out, which favours them.

Models but `tiny` have random weights, and the real VAE; their pictures are noise, which compresses
worse than any photograph.
"""

import math
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch

from benchmarks.report import Report, middle, table, tell
from benchmarks.sampling import batches
from diffumask.attention.tokens import word_positions
from diffumask.dataset.encode import encode_item
from diffumask.dataset.store import open_store
from diffumask.generation.pipeline import GenerateSettings, annotate, generate
from diffumask.generation.plan import Item, plan
from diffumask.masks.enlarge import enlarge
from diffumask.masks.refine import from_labels
from diffumask.masks.refine.crf import crf
from diffumask.masks.thresholds import GAMMAS
from diffumask.notices import notices_off
from diffumask.prompts.build import build as build_prompt
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.calling import call_arguments
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt

from .architectures import ARCHITECTURES, build, real_vae
from .capture import DTYPES
from .refine_speed import FULL, ODDS
from .strategies import store_everything

CLASSES = ("bird", "car", "flower", "potted plant")
PLAIN, OURS = "plain diffusers, images saved", "`generate`"
OFFICIAL, AS_OFTEN = "DiffuMask's settings", "the same in as many steps as the others"
OFFICIAL_STEPS, OFFICIAL_LABELS, OFFICIAL_MAPS, OFFICIAL_PIXELS = 50, 21, 20, 16 * 16
OTHER_FIELDS = 2  # for the labels of AffinityNet, beside one for each threshold


@dataclass(frozen=True, slots=True)
class Setup:
    """What is drawn, with what, and how."""

    pipe: Any
    items: Sequence[Item]
    prompts: Mapping[Item, Prompt]
    settings: GenerateSettings


@dataclass(slots=True)
class Cost:
    """Seconds of the rounds, on the clock and of all cores, and bytes left on the disk."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    disk_bytes: int = 0


def save_images(setup: Setup, folder: Path) -> None:
    """Draw all items, and save their images."""
    for batch in batches(setup.items, setup.settings.batch_size):
        texts = [setup.prompts[item].text for item in batch]
        seeds = [item.seed for item in batch]
        drawn = setup.pipe(**call_arguments(setup.pipe, texts, seeds, setup.settings.sampling))
        for item, image in zip(batch, drawn.images, strict=True):
            image.save(folder / f"{item.name}.png")


def make_items(setup: Setup, folder: Path) -> None:
    """Do what `diffumask generate` does."""
    with open_store(folder / "birds", {}, {}, {}) as store:
        for _ in generate(
            setup.pipe, setup.items, setup.prompts.__getitem__, store, setup.settings
        ):
            pass


def as_diffumask(setup: Setup, folder: Path, steps: int = OFFICIAL_STEPS) -> None:
    """Draw one by one with all attention stored, and find the mask by 22 mean fields."""
    sampling = replace(setup.settings.sampling, num_inference_steps=steps)
    for item in setup.items:
        prompt = setup.prompts[item]
        told = call_arguments(setup.pipe, [prompt.text], [item.seed], sampling)
        with store_everything(setup.pipe) as kept:
            image = setup.pipe(**told).images[0]
            stored = kept()
        image.save(folder / f"{item.name}.jpg")
        at = word_positions(setup.pipe.tokenizer, prompt.text, prompt.targets[0].word)
        heat = enlarge(_stored_heat(stored, list(at)), (image.height, image.width))
        maps = np.zeros((OFFICIAL_MAPS, *heat.shape), np.float32)
        maps[0] = heat
        np.save(folder / f"{item.name}_maps.npy", maps)
        _find_official_mask(np.array(image), heat, folder / item.name)


def _stored_heat(stored: Sequence[torch.Tensor], at: list[int]) -> np.ndarray:
    """Return the mean over the cross-attention of the grid of some 256 pixels, as they do."""
    cross = [one for one in stored if one.shape[-1] != one.shape[-2]]
    n_pixels = min((one.shape[-2] for one in cross), key=lambda n: abs(n - OFFICIAL_PIXELS))
    of_grid = [one[..., at].flatten(0, -3) for one in cross if one.shape[-2] == n_pixels]
    side = math.isqrt(n_pixels)
    return torch.cat(of_grid).mean(dim=(0, 2)).reshape(side, side).float().cpu().numpy()


def _find_official_mask(image: np.ndarray, heat: np.ndarray, path: Path) -> None:
    confidence = ODDS / (ODDS + OFFICIAL_LABELS - 1)
    for number, gamma in enumerate((*GAMMAS[:OTHER_FIELDS], *GAMMAS)):
        labels = (heat > gamma).astype(np.uint8)
        planes = crf(image, from_labels(labels[None], OFFICIAL_LABELS, confidence), FULL)
        if number < OTHER_FIELDS:
            np.save(f"{path}_{number}.npy", planes)


WAYS: Mapping[str, Callable[[Setup, Path], None]] = {
    PLAIN: save_images,
    OURS: make_items,
    OFFICIAL: as_diffumask,
    AS_OFTEN: lambda setup, folder: as_diffumask(
        setup, folder, setup.settings.sampling.num_inference_steps
    ),
}


def cpu_seconds() -> float:
    """Return what this process and those that it waited for have taken of all cores."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run(way: str, setup: Setup, cost: Cost) -> None:
    """Do it once, and add what it took."""
    with TemporaryDirectory() as folder:
        before, started = cpu_seconds(), time.perf_counter()
        WAYS[way](setup, Path(folder))
        cost.wall.append(time.perf_counter() - started)
        cost.cpu.append(cpu_seconds() - before)
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        cost.disk_bytes = sum(path.stat().st_size for path in files)


def compare(setup: Setup, rounds: int, peers: bool) -> dict[str, Cost]:
    """Measure all ways, interleaved; the peer's once, as it takes long, in the last round."""
    costs = {way: Cost() for way in (WAYS if peers else (PLAIN, OURS))}
    for way in (PLAIN, OURS):
        run(way, setup, Cost())  # the first run of each allocates and picks kernels
    order = random.Random(0)
    for index in range(rounds):
        of_round = list(costs) if index + 1 == rounds else [PLAIN, OURS]
        for way in order.sample(of_round, len(of_round)):
            run(way, setup, costs[way])
        tell(f"round {index + 1} of {rounds}")
    return costs


def phases(setup: Setup) -> dict[str, float]:
    """Return the CPU seconds of an item by what they went into, one thing after the other."""
    settings, batch = setup.settings, setup.items[: setup.settings.batch_size]
    prompts, seeds = [setup.prompts[item] for item in batch], [item.seed for item in batch]
    texts = [prompt.text for prompt in prompts]
    took: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        before = cpu_seconds()
        done = work()
        took[name] = (cpu_seconds() - before) / len(batch)
        return done

    told = call_arguments(setup.pipe, texts, seeds, settings.sampling)
    timed("plain sampling", lambda: setup.pipe(**told))
    samples = timed(
        "sampling with heat", lambda: sample(setup.pipe, prompts, seeds, settings.sampling)
    )
    made = timed("masks", lambda: [annotate(one, settings.masks) for one in samples])
    names = [item.name for item in batch]
    encoded = timed(
        "encoding",
        lambda: [encode_item(name, *of_item) for name, of_item in zip(names, made, strict=True)],
    )
    with TemporaryDirectory() as folder, open_store(Path(folder) / "birds", {}, {}, {}) as store:
        timed("writing", lambda: store.write_batch(encoded))
    return took


def prepare(
    name: str,
    device: str,
    dtype: str,
    n: int,
    steps: int,
    batch_size: int,
    real_decoder: bool = True,
) -> Setup:
    """Build the pipeline, and say what it draws."""
    pipe = build(name, device, DTYPES[dtype])
    if name != "tiny" and real_decoder:
        vae: Any = real_vae()
        with notices_off():  # that some VAEs should stay in float32, this one in no part
            pipe.vae = vae.to(device, DTYPES[dtype])
    vocabulary, size_px = load_vocabulary("tiny"), ARCHITECTURES[name].size_px
    items = list(plan(CLASSES, -(-n // len(CLASSES)), 0))[:n]
    prompts = {item: build_prompt(vocabulary, item.class_name, item.seed) for item in items}
    sampling = SampleSettings(steps, 7.5, size_px, size_px)
    return Setup(pipe, items, prompts, GenerateSettings(name, sampling, batch_size=batch_size))


def costs_table(costs: Mapping[str, Cost], n: int) -> list[str]:
    """Write a row for each way."""
    plain, rows = costs[PLAIN], []
    for name, cost in costs.items():
        pairs = list(zip(cost.wall, plain.wall[-len(cost.wall) :], strict=True))
        cores = zip(cost.cpu, plain.cpu[-len(cost.cpu) :], strict=True)
        rows.append(
            (
                name,
                f"{3600 * n / statistics.median(cost.wall):.0f}",
                middle([ours / theirs for ours, theirs in pairs], 3),
                middle([ours / theirs for ours, theirs in cores], 3),
                f"{statistics.median(cost.cpu) / n:.3f}",
                f"{cost.disk_bytes / n / 1e6:.2f}",
            )
        )
    head = ("way", "pairs/hour", "time ratio", "CPU ratio", "CPU s a pair", "MB a pair")
    return table(head, rows)


def main(
    models: Annotated[Sequence[str], "real architectures", ARCHITECTURES] = ("tiny",),
    device: str = "cpu",
    dtype: Annotated[str, "precision", DTYPES] = "float32",
    n: Annotated[int, "items a round"] = 16,
    steps: Annotated[int, "of plain sampling and `generate`"] = 20,
    batch_size: int = 8,
    rounds: int = 5,
    no_peers: Annotated[bool, "leave DiffuMask's settings out"] = False,
) -> Report:
    """Measure all models."""
    lines: list[str] = []
    for name in models:
        setup = prepare(name, device, dtype, n, steps, batch_size)
        costs = compare(setup, rounds, not no_peers)
        size_px = ARCHITECTURES[name].size_px
        lines += [f"## {name}, {size_px} x {size_px} px", "", *costs_table(costs, n), ""]
        took = [phases(setup) for _ in range(3)]
        rows = [(key, f"{statistics.median(one[key] for one in took):.4f}") for key in took[0]]
        lines += ["One thing after the other, of one item:", ""]
        lines += [*table(("phase", "CPU s"), rows), ""]
        del setup
    facts = [
        f"{device}, {dtype}, {n} items a round in {steps} steps, guidance on, batches of"
        f" {batch_size}; {torch.get_num_threads()} threads.",
        f"A ratio is the median over {rounds} rounds of the time by that of plain sampling in the"
        " same round; DiffuMask's settings ran in the last one.",
    ]
    return Report("Pairs per hour", facts, lines[:-1])
