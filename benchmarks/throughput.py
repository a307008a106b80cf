"""How many pairs of image and mask a second, from prompt to mask, with random weights?

    python benchmarks/throughput.py [--device cuda --dtype bfloat16] [--model sd15]
        [--steps 20 50] [--batch-sizes 1 8 16] [--compile] [--out benchmarks/results/throughput.md]

The whole way is timed: text encoder, denoising, VAE, heat map and mask. The first row stores all
attention at batch 1 in single precision, the setting of the official code of DiffuMask. The
denoising network and the VAE are the real ones, the text encoder has two layers of its width.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from architectures import ARCHITECTURES, PROMPT, WORDS, build
from capture import DTYPES, bytes_of_everything, free_bytes
from strategies import STRATEGIES

from diffumask.attention.aggregate import aggregate
from diffumask.attention.capture import capture
from diffumask.masks.components import drop_small

THRESHOLD = 0.5  # of the maps of random weights, which show nothing
MIN_AREA_PX = 500


def pairs(pipe: Any, size_px: int, steps: int, batch_size: int) -> int:
    """Make image and masks as the tool does; return how many pairs."""
    with capture(pipe, WORDS) as attention:
        images = sample(pipe, size_px, steps, batch_size)
    for heats in aggregate(attention, (size_px, size_px)):
        for heat in heats.values():
            drop_small(heat > THRESHOLD, MIN_AREA_PX)
    return len(images)


def stored(pipe: Any, size_px: int, steps: int, batch_size: int) -> int:
    """Make images with all attention stored, and masks left out: a bound for that way."""
    everything = next(name for name in STRATEGIES if name.startswith("store everything"))
    with STRATEGIES[everything](pipe):
        return len(sample(pipe, size_px, steps, batch_size))


def sample(pipe: Any, size_px: int, steps: int, batch_size: int) -> list[Any]:
    """Sample a batch of the prompt to images."""
    return pipe(
        [PROMPT] * batch_size,
        height=size_px,
        width=size_px,
        num_inference_steps=steps,
        generator=[torch.Generator().manual_seed(i) for i in range(batch_size)],
    ).images


def rate(make: Callable[..., int], repeats: int, *args: Any) -> float:
    """Return the median pairs per second after a run that does not count."""
    make(*args)
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        made = make(*args)  # its images are on the CPU, so nothing is left to wait for
        rates.append(made / (time.perf_counter() - started))
    return statistics.median(rates)


def rows(args: argparse.Namespace) -> list[str]:
    """Measure, and write a row of Markdown for each setting."""
    size_px = ARCHITECTURES[args.model].size_px
    found = []

    def add(what: str, dtype: str, steps: int, batch_size: int, per_second: float) -> None:
        found.append(f"| {what} | {dtype} | {steps} | {batch_size} | {per_second:.3f} |")
        print(found[-1], file=sys.stderr, flush=True)

    pipe = build(args.model, args.device, torch.float32, real_vae=True)
    one = argparse.Namespace(device=args.device, batch_size=1)
    if bytes_of_everything(pipe, args.model, one) < free_bytes(args.device):
        for steps in args.steps:
            add("everything stored", "float32", steps, 1, rate(stored, 1, pipe, size_px, steps, 1))
    del pipe

    for compiled in [False, True] if args.compile else [False]:
        pipe = build(args.model, args.device, DTYPES[args.dtype], real_vae=True)
        if compiled:
            pipe.unet = torch.compile(pipe.unet)
        for steps in args.steps:
            for batch_size in args.batch_sizes:
                per_second = rate(pairs, args.repeats, pipe, size_px, steps, batch_size)
                what = "ours, compiled" if compiled else "ours"
                add(what, args.dtype, steps, batch_size, per_second)
    return found


def main() -> None:
    """Measure and print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", choices=ARCHITECTURES, default="sd15")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--compile", action="store_true", help="measure a compiled UNet too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = rows(args)
    gpu = "" if args.device == "cpu" else f"{torch.cuda.get_device_name()}, "
    size_px = ARCHITECTURES[args.model].size_px
    lines = [
        "# Pairs of image and mask a second",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{args.model}, {size_px} x {size_px} px, guidance on; {gpu}{os.cpu_count()} cores, torch"
        f" {torch.__version__}, diffusers {diffusers.__version__}, Python"
        f" {platform.python_version()}.",
        "",
        "| what | dtype | steps | batch | pairs/s |",
        "|---|---|---|---|---|",
        *found,
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
