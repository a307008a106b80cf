"""Does a LoRA teach `tiny` a domain that it has never seen, and do its masks stay good?

The domain is night vision: renders in green, darker to the corners. A LoRA is trained by
`diffumask lora train` on some of them; captions do not tell of the night, so the LoRA alone does.
Run again, it keeps a LoRA that is in --work.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from diffusers import DiffusionPipeline
from PIL import Image as PillowImage

from benchmarks.commands import Spent, diffumask
from benchmarks.judges.distance import distances, through_vae
from benchmarks.judges.oracle import label_names, load_oracle, predict
from benchmarks.report import Picture, Report, table, tell
from benchmarks.sampling import batches, settings_of
from diffumask.draw import contact_sheet, display_palette, overlay
from diffumask.lora import lora_applied, read_lora
from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.metrics import class_ious, confusion_matrix
from diffumask.models import load, resolve
from diffumask.sampling.observe import observe
from diffumask.sampling.sample import sample
from diffumask.types import IGNORE_ID, ClassMap, Image, Prompt, Sample

from .night_scenes import Scenes, render

Row = tuple[str, ...]
# Far from the seeds that `tiny` and the oracle were trained on, and from those of masks.py.
TRAIN_SEED, HELD_OUT_SEED, FLOOR_SEED = 50_000_000, 51_000_000, 52_000_000
SCALES = (0.0, 0.5, 1.0)
SHOWN = 10
MASKS = MaskSettings(uncertain_band=0.0)  # so that each pixel has a label


def train_lora(work: Path, count: int, options: Mapping[str, object]) -> tuple[Path, Spent]:
    """Train by the command; return the file, and what the training took when it was made."""
    out, images, told = work / "lora.safetensors", work / "images", work / "spent.json"
    if not told.exists():
        scenes = render(TRAIN_SEED, count)
        images.mkdir(parents=True, exist_ok=True)
        lines = []
        for index, (image, prompt) in enumerate(zip(scenes.night, scenes.prompts, strict=True)):
            PillowImage.fromarray(image).save(images / f"{index:04d}.png")
            lines.append(json.dumps({"file_name": f"{index:04d}.png", "text": prompt.text}))
        (images / "metadata.jsonl").write_text("\n".join(lines))
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        spent, _ = diffumask("lora", "train", "--images", images, "--out", out, *words)
        told.write_text(json.dumps(asdict(spent)))
    return out, Spent(**json.loads(told.read_text()))


def draw(
    pipe: DiffusionPipeline, lora: Path, scale: float, prompts: Sequence[Prompt]
) -> list[Sample]:
    """Sample an image of each prompt, from the same noise at each scale."""
    settings = settings_of(resolve("tiny"))
    samples: list[Sample] = []
    with lora_applied(pipe, read_lora(lora), scale) if scale else nullcontext():
        for batch in batches(prompts):
            seeds = range(len(samples), len(samples) + len(batch))
            samples += sample(pipe, batch, seeds, settings)
            tell(f"scale {scale}: {len(samples)}/{len(prompts)}")
    return samples


def look(
    pipe: DiffusionPipeline, images: Sequence[Image], prompts: Sequence[Prompt]
) -> list[Sample]:
    """Return what the model attends to in renders, whose masks are known."""
    samples: list[Sample] = []
    for some, batch in zip(batches(images), batches(prompts), strict=True):
        seeds = range(len(samples), len(samples) + len(batch))
        samples += observe(pipe, some, batch, seeds=seeds, affinity=True)
    return samples


def miou(predicted: Sequence[ClassMap], truth: Sequence[ClassMap]) -> float:
    """Return the mean IoU over background and the classes that occur."""
    n_labels = len(label_names())
    pairs = zip(predicted, truth, strict=True)
    confusion = sum(confusion_matrix(one, other, n_labels) for one, other in pairs)
    return float(np.nanmean(class_ious(np.asarray(confusion))))


def of_prompt(class_maps: Sequence[ClassMap], prompts: Sequence[Prompt]) -> list[ClassMap]:
    """Leave the classes of the prompts alone: others cannot be in their masks."""
    wanted = [[target.class_id for target in prompt.targets] for prompt in prompts]
    return [np.where(np.isin(m, ids), m, 0) for m, ids in zip(class_maps, wanted, strict=True)]


def masks(samples: Sequence[Sample]) -> list[ClassMap]:
    """Return the masks that generate makes, without pixels in doubt."""
    return [make_class_map(one, MASKS).class_map for one in samples]


def main(
    work: Annotated[Path, "where the LoRA and its images are kept"],
    images: Annotated[int, "of the training"] = 200,
    n: Annotated[int, "images to measure on"] = 100,
    rank: int = 8,
    steps: int = 500,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
) -> Report:
    """Train, draw, and measure."""
    work.mkdir(parents=True, exist_ok=True)
    options = {
        "rank": rank,
        "steps": steps,
        "batch-size": batch_size,
        "learning-rate": learning_rate,
    }
    lora, spent = train_lora(work, images, options)
    held_out = render(HELD_OUT_SEED, n)
    pipe = load(resolve("tiny"), "cpu")
    drawn = {scale: draw(pipe, lora, scale, held_out.prompts) for scale in SCALES}
    pictures = {scale: [one.image for one in samples] for scale, samples in drawn.items()}
    class_maps = {scale: masks(samples) for scale, samples in drawn.items()}
    groups = [
        [
            held_out.night[i],
            *(pictures[scale][i] for scale in SCALES),
            overlay(pictures[1.0][i], class_maps[1.0][i], display_palette(range(1, IGNORE_ID))),
        ]
        for i in range(min(SHOWN, n))
    ]
    sheet = PillowImage.fromarray(contact_sheet(groups, 2))
    caption = "Renders of the domain; drawn without LoRA, at 0.5 and at 1; masks"
    facts = [
        f"{images} renders of the domain, rank {rank}, {steps} steps of {batch_size} images at a",
        f"learning rate of {learning_rate:g}: {spent.wall_s:.0f} s, {spent.cpu_s:.0f} s of CPU,",
        f"{lora.stat().st_size / 1e6:.2f} MB. Measured on {n} captions of other scenes, the",
        "same noise at each scale.",
        "",
        "The domain is night vision: green, dark at the corners. Captions do not tell of it.",
    ]
    lines = tables(
        distance_rows(pipe, held_out, pictures),
        mask_rows(pipe, held_out, lora),
        oracle_rows(held_out, pictures, class_maps),
        n,
    )
    picture = Picture(".jpg", caption, partial(sheet.save, quality=88))
    return Report("A LoRA for a domain that `tiny` has never seen", facts, lines, [picture])


def distance_rows(
    pipe: DiffusionPipeline, held_out: Scenes, pictures: Mapping[float, Sequence[Image]]
) -> list[Row]:
    """Return how far renders and drawn images are from the domain."""
    floor = render(FLOOR_SEED, len(held_out.night)).night
    sets = {
        "other renders of the domain (what chance leaves)": floor,
        "the same through the VAE (the nearest a UNet can come)": through_vae(pipe, floor),
        "plain renders": held_out.plain,
        **{
            f"`tiny`, {f'LoRA at {scale:g}' if scale else 'no LoRA'}": images
            for scale, images in pictures.items()
        },
    }
    return distances(sets, held_out.night, held_out.plain)


def mask_rows(pipe: DiffusionPipeline, held_out: Scenes, lora: Path) -> list[Row]:
    """Return how good the oracle and attention are on renders, whose masks are exact."""
    oracle, prompts = load_oracle(), held_out.prompts
    seen = {
        "the oracle on plain renders": list(predict(oracle, held_out.plain)),
        "the oracle on renders of the domain": list(predict(oracle, held_out.night)),
        "attention of `tiny` on plain renders": masks(look(pipe, held_out.plain, prompts)),
        "attention of `tiny` on renders of the domain, no LoRA": masks(
            look(pipe, held_out.night, prompts)
        ),
    }
    with lora_applied(pipe, read_lora(lora)):
        seen["attention of `tiny` on renders of the domain, LoRA at 1"] = masks(
            look(pipe, held_out.night, prompts)
        )
    return [
        (name, f"{miou(of_prompt(maps, prompts), held_out.class_maps):.3f}")
        for name, maps in seen.items()
    ]


def oracle_rows(
    held_out: Scenes,
    pictures: Mapping[float, Sequence[Image]],
    class_maps: Mapping[float, Sequence[ClassMap]],
) -> list[Row]:
    """Return how far attention on drawn images is what the oracle sees there."""
    oracle = load_oracle()
    judged = {
        scale: of_prompt(list(predict(oracle, images)), held_out.prompts)
        for scale, images in pictures.items()
    }
    return [(f"{scale:g}", f"{miou(class_maps[scale], judged[scale]):.3f}") for scale in SCALES]


def tables(
    from_domain: Sequence[Row], on_renders: Sequence[Row], on_drawn: Sequence[Row], n: int
) -> list[str]:
    """Write the tables, and what they say."""
    text = f"""Each group from the left: a render of the domain; `tiny` on its caption without LoRA,
with the LoRA at 0.5 and at 1; the mask of the last, from attention.

## Distance from the domain

Fréchet distances to {n} held-out renders of the domain, each feature in units of its deviation over
plain renders and those of the domain.
"""
    renders = """
## Masks

mIoU over the classes of the captions, against the exact masks of held-out renders. The attention is
that of `diffumask.sampling.observe`, which looks at a picture that the model did not make.
"""
    drawn = """
mIoU of attention masks of generated images, against what the oracle sees of the prompted classes.
The oracle has never seen the domain, so that the figures at 0.5 and 1 are its errors too; it is
only as good a judge as the table above says.
"""
    head = ("images", "colour, light and edges (17)", "oracle, second stage (48)")
    return [
        *(text, *table(head, from_domain)),
        *(renders, *table(("masks", "mIoU"), on_renders)),
        *(drawn, *table(("LoRA at", "mIoU"), on_drawn)),
    ]
