"""Does a LoRA teach `tiny` a domain that it has never seen, and do its masks stay good?

    python benchmarks/lora.py --work DIR     # about 25 minutes on one core

The domain is night vision: renders in green, darker to the corners. A LoRA is trained by
`diffumask lora train` on some of them; captions do not tell of the night, so the LoRA alone does.
Writes benchmarks/results/lora.md and lora.jpg. Run again, it keeps a LoRA that is in DIR.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from domain_distance import distances, through_vae
from night_scenes import Scenes, render
from oracle import label_names, load_oracle, predict
from PIL import Image as PillowImage

from diffumask.api.lora_train import LoraTrainOptions, lora_train
from diffumask.draw import contact_sheet, overlay
from diffumask.lora import lora_applied, read_lora
from diffumask.masks.class_map import MaskSettings, make_class_map
from diffumask.metrics import class_ious, confusion_matrix
from diffumask.models import load, resolve
from diffumask.sampling.observe import observe
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import ClassMap, Image, Prompt, Sample

RESULTS = Path(__file__).parent / "results"
# Far from the seeds that `tiny` and the oracle were trained on, and from those of masks.py.
TRAIN_SEED, HELD_OUT_SEED, FLOOR_SEED = 50_000_000, 51_000_000, 52_000_000
SCALES = (0.0, 0.5, 1.0)
BATCH_SIZE = 10
SHOWN = 10
MASKS = MaskSettings(uncertain_band=0)  # so that each pixel has a label


def train_lora(work: Path, count: int, options: Mapping[str, int | float]) -> tuple[Path, float]:
    """Train as the command does; return the file, and the seconds of a training just made."""
    out, images = work / "lora.safetensors", work / "images"
    if out.exists():
        return out, float((work / "seconds.txt").read_text())
    scenes = render(TRAIN_SEED, count)
    images.mkdir(parents=True, exist_ok=True)
    lines = []
    for index, (image, prompt) in enumerate(zip(scenes.night, scenes.prompts, strict=True)):
        PillowImage.fromarray(image).save(images / f"{index:04d}.png")
        lines.append(json.dumps({"file_name": f"{index:04d}.png", "text": prompt.text}))
    (images / "metadata.jsonl").write_text("\n".join(lines))
    started = time.perf_counter()
    chosen = LoraTrainOptions(images=images, out=out, **options)  # type: ignore[arg-type]
    print(lora_train.run(chosen).text, file=sys.stderr)
    seconds = time.perf_counter() - started
    (work / "seconds.txt").write_text(str(seconds))
    return out, seconds


def draw(pipe: DiffusionPipeline, lora: Path, scale: float, prompts: Sequence[Prompt]) -> list:
    """Sample an image of each prompt, from the same noise at each scale."""
    spec = resolve("tiny")
    settings = SampleSettings(spec.num_inference_steps, spec.guidance_scale, 128, 128)
    samples: list[Sample] = []
    with lora_applied(pipe, read_lora(lora), scale) if scale else nullcontext():
        for start in range(0, len(prompts), BATCH_SIZE):
            batch = prompts[start : start + BATCH_SIZE]
            samples += sample(pipe, batch, range(start, start + len(batch)), settings)
            print(f"scale {scale}: {len(samples)}/{len(prompts)}", file=sys.stderr, flush=True)
    return samples


def look(pipe: DiffusionPipeline, images: Sequence[Image], prompts: Sequence[Prompt]) -> list:
    """Return what the model attends to in renders, whose masks are known."""
    samples: list[Sample] = []
    for start in range(0, len(prompts), BATCH_SIZE):
        stop = min(start + BATCH_SIZE, len(prompts))
        seeds = range(start, stop)
        samples += observe(
            pipe, images[start:stop], prompts[start:stop], seeds=seeds, affinity=True
        )
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


def main() -> None:
    """Train, draw, measure, and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200, help="of the training")
    parser.add_argument("--n", type=int, default=100, help="images to measure on")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    options = {
        name: getattr(arguments, name) for name in ("rank", "steps", "batch_size", "learning_rate")
    }
    lora, seconds = train_lora(arguments.work, arguments.images, options)
    held_out = render(HELD_OUT_SEED, arguments.n)
    pipe = load(resolve("tiny"), "cpu")
    drawn = {scale: draw(pipe, lora, scale, held_out.prompts) for scale in SCALES}
    pictures = {scale: [one.image for one in samples] for scale, samples in drawn.items()}
    class_maps = {scale: masks(samples) for scale, samples in drawn.items()}
    groups = [
        [
            held_out.night[i],
            *(pictures[scale][i] for scale in SCALES),
            overlay(pictures[1.0][i], class_maps[1.0][i]),
        ]
        for i in range(min(SHOWN, arguments.n))
    ]
    _write(
        contact_sheet(groups, 2),
        distance_rows(pipe, held_out, pictures),
        mask_rows(pipe, held_out, lora),
        oracle_rows(held_out, pictures, class_maps),
        arguments,
        lora,
        seconds,
    )


def distance_rows(
    pipe: DiffusionPipeline, held_out: Scenes, pictures: Mapping[float, Sequence[Image]]
) -> list[str]:
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


def mask_rows(pipe: DiffusionPipeline, held_out: Scenes, lora: Path) -> list[str]:
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
        f"| {name} | {miou(of_prompt(maps, prompts), held_out.class_maps):.3f} |"
        for name, maps in seen.items()
    ]


def oracle_rows(
    held_out: Scenes,
    pictures: Mapping[float, Sequence[Image]],
    class_maps: Mapping[float, Sequence[ClassMap]],
) -> list[str]:
    """Return how far attention on drawn images is what the oracle sees there."""
    oracle = load_oracle()
    judged = {
        scale: of_prompt(list(predict(oracle, images)), held_out.prompts)
        for scale, images in pictures.items()
    }
    return [f"| {scale:g} | {miou(class_maps[scale], judged[scale]):.3f} |" for scale in SCALES]


def _write(
    sheet: Image,
    from_domain: Sequence[str],
    on_renders: Sequence[str],
    on_drawn: Sequence[str],
    arguments: argparse.Namespace,
    lora: Path,
    seconds: float,
) -> None:
    PillowImage.fromarray(sheet).save(RESULTS / "lora.jpg", quality=88)
    shown = " ".join(
        "DIR" if before == "--work" else now
        for before, now in zip(sys.argv, sys.argv[1:], strict=False)
    )
    size_mb = lora.stat().st_size / 1e6
    text = f"""# A LoRA for a domain that `tiny` has never seen

Command: `python benchmarks/lora.py {shown}`.
{arguments.images} renders of the domain, rank {arguments.rank}, {arguments.steps} steps of
{arguments.batch_size} images at a learning rate of {arguments.learning_rate:g}: {seconds:.0f} s on
{torch.get_num_threads()} of {os.cpu_count()} cores, a file of {size_mb:.2f} MB;
torch {torch.__version__}, Python {platform.python_version()}.
Measured on {arguments.n} captions of other scenes, the same noise at each scale.

The domain is night vision: green, dark at the corners. Captions do not tell of it.

![Renders of the domain; drawn from their captions without LoRA, at 0.5 and at 1; masks](lora.jpg)

Each group from the left: a render of the domain; `tiny` on its caption without LoRA, with the LoRA
at 0.5 and at 1; the mask of the last, from attention.

## Distance from the domain

Fréchet distances to {arguments.n} held-out renders of the domain, each feature in units of its
deviation over plain renders and those of the domain.

| images | colour, light and edges (17) | oracle, second stage (48) |
|---|---|---|
{chr(10).join(from_domain)}

## Masks

mIoU over the classes of the captions, against the exact masks of held-out renders. The attention is
that of `diffumask.sampling.observe`, which looks at a picture that the model did not make.

| masks | mIoU |
|---|---|
{chr(10).join(on_renders)}

mIoU of attention masks of generated images, against what the oracle sees of the prompted classes.
The oracle has never seen the domain, so that the figures at 0.5 and 1 are its errors too; it is
only as good a judge as the table above says.

| LoRA at | mIoU |
|---|---|
{chr(10).join(on_drawn)}
"""
    (RESULTS / "lora.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
