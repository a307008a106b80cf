"""Which head on the VAE decoder is worth its parameters and its time?

The designs of `diffumask.segmentator.heads` are trained for as many steps on the same rendered
scenes with exact masks, through the VAE of `tiny`, and judged on scenes that none of them saw: of
the sprites of the training, and of sprites that are in no training scene. Parameters and
operations are shares of the decoder's. What is done stays in --work, and is not done again.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import Report, table
from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import make_report
from diffumask.labelled.folder import Labelled
from diffumask.models import ModelSpec, load_autoencoder, resolve, vae_fingerprint
from diffumask.scenes.catalog import Split
from diffumask.segmentator.features import Autoencoder, decoded_states
from diffumask.segmentator.file import save
from diffumask.segmentator.heads import HEADS, n_parameters, new_head
from diffumask.segmentator.predict import Predictor
from diffumask.segmentator.training import TrainSettings, train_segmentator

from .scenes import open_scenes

HELD_OUT_SEED = 1_000_000
BATCH_SIZE = 2
N_VIEWS = 2
TIMED = 8
CLASSES = ("aeroplane", "bird", "boat", "bus", "car", "cat")


def measure(
    design: str, vae: Autoencoder, spec: ModelSpec, steps: int, work: Path, sets: list[Labelled]
) -> dict[str, Any]:
    """Train one design and judge it."""
    settings = TrainSettings(
        spec.height, design, steps, BATCH_SIZE, n_views=N_VIEWS, held_out=0, validate_every=steps
    )
    started = time.process_time()
    of_vae = (spec.name, vae_fingerprint(spec))
    trained = train_segmentator(vae, sets[0], settings, of_vae, work / design).segmentator
    seconds = time.process_time() - started
    save(trained, vae, work / f"{design}.safetensors")
    scores = {}
    for name, data in zip(("seen sprites", "other sprites"), sets[1:], strict=True):
        report = make_report(
            compare_network(data, Predictor(trained, vae), lambda count: None), data.mapping
        )
        scores[name] = {"miou": report.miou, "boundary_f": report.boundary_f}
    return {"train_s": seconds, **scores}


@torch.no_grad()
def cost(vae: Autoencoder, head: Any, spec: ModelSpec) -> dict[str, float]:
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


def main(
    images: Annotated[int, "training scenes"] = 200,
    held_out: Annotated[int, "scenes of a kind"] = 60,
    steps: int = 250,
    designs: Annotated[Sequence[str], "heads", HEADS] = tuple(HEADS),
    work: Annotated[Path, "where heads are kept"] = Path("build/designs"),
) -> Report:
    """Train what is missing, and judge."""
    spec = resolve("tiny")
    vae = load_autoencoder(spec)
    kinds: dict[str, tuple[int, Split, int]] = {
        "train": (images, "train", 0),
        "seen": (held_out, "train", HELD_OUT_SEED),
        "other": (held_out, "test", HELD_OUT_SEED),
    }
    sets = [
        open_scenes(work / name, count, CLASSES, split, seed)
        for name, (count, split, seed) in kinds.items()
    ]
    rows = {}
    for design in designs:
        path = work / f"{design}.json"
        if not path.exists():
            row = measure(design, vae, spec, steps, work, sets)
            path.write_text(json.dumps(row, indent=2), "utf-8")
        head = new_head(design, vae, len(sets[0].mapping.names))
        rows[design] = json.loads(path.read_bytes()) | cost(vae, head, spec)
    facts = [
        f"{images} training scenes of 128x128 px in {N_VIEWS} encodings each, batches of",
        f"{BATCH_SIZE}, {steps} steps; {held_out} held-out scenes of a kind; {len(CLASSES)}",
        "classes and background. The aim is 5 % of the decoder's parameters and 10 % of its time.",
    ]
    time_note = (
        "Time is the fastest of some calls with one image. All times are the process's own, as the"
        " machine did other work too; training counts encoding and decoding."
    )
    lines = [*designs_table(rows), "", time_note]
    return Report("Heads on the VAE decoder of `tiny`", facts, lines)


def designs_table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write a row for each design."""
    head = {
        "head": lambda name, row: f"`{name}`",
        "parameters": lambda _, row: f"{row['parameters']:,}",
        "of the decoder": lambda _, row: f"{row['parameter_share']:.1%}",
        "operations, of the decoder": lambda _, row: f"{row['operation_share']:.1%}",
        "time, of the decoder": lambda _, row: f"{row['time_share']:.0%}",
        "mIoU, seen sprites": lambda _, row: f"{row['seen sprites']['miou']:.3f}",
        "boundary F": lambda _, row: f"{row['seen sprites']['boundary_f']:.3f}",
        "mIoU, other sprites": lambda _, row: f"{row['other sprites']['miou']:.3f}",
        "training, CPU s": lambda _, row: f"{row['train_s']:.0f}",
    }
    return table(
        list(head), [[cell(name, row) for cell in head.values()] for name, row in rows.items()]
    )
