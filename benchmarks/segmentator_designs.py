"""Which head on the VAE decoder is worth its parameters and its time?

    python benchmarks/segmentator_designs.py [--steps 250] [--out benchmarks/results/...md]

The designs of `diffumask.segmentator.heads` are trained for as many steps on the same rendered
scenes with exact masks, through the VAE of `tiny`, and judged on scenes that none of them saw: of
the sprites of the training, and of sprites that are in no training scene. Parameters and
operations are shares of the decoder's. What is done stays in --work, and is not done again.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode

from diffumask.dataset.encode import encode_class_map, encode_image
from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import make_report
from diffumask.labelled.folder import Labelled, open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.models import ModelSpec, load_autoencoder, resolve, vae_fingerprint
from diffumask.scenes import load_catalog, render_scene
from diffumask.scenes.render import choose_classes
from diffumask.segmentator.features import decoded_states
from diffumask.segmentator.file import save
from diffumask.segmentator.heads import HEADS, n_parameters, new_head
from diffumask.segmentator.predict import Predictor
from diffumask.segmentator.training import TrainSettings, train_segmentator
from diffumask.types import ClassIds

HELD_OUT_SEED = 1_000_000
BATCH_SIZE = 2
N_VIEWS = 2
TIMED = 8
CLASSES = ("aeroplane", "bird", "boat", "bus", "car", "cat")
MOST_PARAMETERS, MOST_TIME = 0.05, 0.10  # shares of the decoder's


def rendered(folder: Path, seeds: range, split: Any) -> Labelled:
    """Write scenes with their masks, if they are not there, and open them."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        image, mask = (folder / one / f"{seed:07d}.png" for one in ("images", "masks"))
        if not mask.exists():
            names = choose_classes(CLASSES, np.random.default_rng((seed, len(CLASSES))))
            scene = render_scene(seed, split=split, class_names=names)
            image.write_bytes(encode_image(scene.image))
            mask.write_bytes(encode_class_map(scene.class_map))
    classes = {one: load_catalog().classes[one].class_id for one in CLASSES}
    return open_labelled(folder, "plain", selection=ClassSelection(ClassIds(classes)))


def measure(
    design: str, vae: AutoencoderKL, spec: ModelSpec, steps: int, work: Path, sets: list[Labelled]
) -> dict[str, Any]:
    """Train one design and judge it."""
    settings = TrainSettings(
        spec.height, design, steps, BATCH_SIZE, n_views=N_VIEWS, held_out=0, validations=1
    )
    started = time.process_time()
    of_vae = (spec.name, vae_fingerprint(spec))
    trained = train_segmentator(vae, sets[0], settings, of_vae, work / design).segmentator
    seconds = time.process_time() - started
    save(trained, vae, work / f"{design}.safetensors")
    scores = {}
    for name, data in zip(("seen sprites", "other sprites"), sets[1:], strict=True):
        report = make_report(compare_network(data, Predictor(trained, vae), _ignore), data.mapping)
        scores[name] = {"miou": report.miou, "boundary_f": report.boundary_f}
    return {"train_s": seconds, **scores}


def _ignore(count: int) -> None:
    pass


@torch.no_grad()
def cost(vae: AutoencoderKL, head: Any, spec: ModelSpec) -> dict[str, float]:
    """Return parameters, operations and time of a head as shares of those of the decoder."""
    shape = (1, vae.config["latent_channels"], spec.height // 8, spec.width // 8)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    states = [state for state in decoded_states(vae, latents) if state is not None]

    def apply() -> None:
        head([head.reduce(place, state) for place, state in enumerate(states)])

    def decode() -> None:
        vae.decode(latents)  # pyright: ignore[reportArgumentType]

    return {
        "parameters": n_parameters(head),
        "parameter_share": n_parameters(head) / n_parameters(vae.decoder),
        "operation_share": operations(apply) / operations(decode),
        "time_share": fastest_s(apply) / fastest_s(decode),
    }


def operations(call: Any) -> int:
    """Count the multiplications and additions of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def fastest_s(call: Any) -> float:
    """Return the CPU seconds of the fastest of some calls, which others disturb least."""
    seconds = []
    for _ in range(TIMED + 1):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return min(seconds[1:])


def winner(rows: dict[str, dict[str, Any]]) -> str:
    """Return the best design within the budget of parameters and operations."""
    fitting = [
        name
        for name, row in rows.items()
        if row["parameter_share"] <= MOST_PARAMETERS and row["operation_share"] <= MOST_TIME
    ]
    return max(fitting, key=lambda name: rows[name]["seen sprites"]["miou"])


def verdict(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Name the winner, what it misses, and what is better but too dear."""
    name = winner(rows)
    best = max(rows, key=lambda one: rows[one]["seen sprites"]["miou"])
    lines = [
        f"Within {MOST_PARAMETERS:.0%} of the parameters and {MOST_TIME:.0%} of the operations the"
        f" best is `{name}`."
    ]
    if rows[name]["time_share"] > MOST_TIME:
        lines.append(
            f"Its time on one thread is {rows[name]['time_share']:.0%} of the decoder's, above the"
            f" aim of {MOST_TIME:.0%}."
        )
    if best != name:
        row = rows[best]
        lines.append(
            f"`{best}` reaches more, {row['seen sprites']['miou']:.3f}, for"
            f" {row['operation_share']:.1%} of the operations and {row['time_share']:.0%} of the"
            " time. One seed each."
        )
    return lines


def report(rows: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Write the table as Markdown."""
    lines = [
        "# Heads on the VAE decoder of `tiny`",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{arguments.images} training scenes of 128x128 px in {N_VIEWS} encodings each, batches of",
        f"{BATCH_SIZE}, {arguments.steps} steps; {arguments.held_out} held-out scenes of a kind;",
        f"{len(CLASSES)} classes and background. {os.cpu_count()} cores, torch {torch.__version__},"
        f" {torch.get_num_threads()} threads, Python {platform.python_version()}.",
        "",
        "| head | parameters | of the decoder | operations, of the decoder | time, of the decoder |"
        " mIoU, seen sprites | boundary F | mIoU, other sprites | training, CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        seen, other = row["seen sprites"], row["other sprites"]
        lines.append(
            f"| `{name}` | {row['parameters']:,} | {row['parameter_share']:.1%} |"
            f" {row['operation_share']:.1%} | {row['time_share']:.0%} | {seen['miou']:.3f} |"
            f" {seen['boundary_f']:.3f} | {other['miou']:.3f} | {row['train_s']:.0f} |"
        )
    lines += [
        "",
        *verdict(rows),
        "Time is the fastest of some calls with one image. All times are the process's own, as the"
        " machine did other work too; training counts encoding and decoding.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=60)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--designs", nargs="+", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--work", type=Path, default=Path("segmentator-designs"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    spec, work = resolve("tiny"), arguments.work
    vae = load_autoencoder(spec)
    unseen = range(HELD_OUT_SEED, HELD_OUT_SEED + arguments.held_out)
    sets = [
        rendered(work / "train", range(arguments.images), "train"),
        rendered(work / "seen", unseen, "train"),
        rendered(work / "other", unseen, "test"),
    ]
    rows = {}
    for design in arguments.designs:
        path = work / f"{design}.json"
        if not path.exists():
            row = measure(design, vae, spec, arguments.steps, work, sets)
            path.write_text(json.dumps(row, indent=2), "utf-8")
        head = new_head(design, vae, len(sets[0].mapping.names))
        rows[design] = json.loads(path.read_bytes()) | cost(vae, head, spec)
    text = report(rows, arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
