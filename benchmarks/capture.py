"""What does capture cost? Plain sampling, ours and the peers' ways, interleaved on one pipeline.

    python benchmarks/capture.py --models tiny sd15 sdxl [--device cuda --dtype bfloat16]
        [--steps 4] [--batch-size 1] [--rounds 5] [--out benchmarks/results/capture]

Time is that of the denoising, without the VAE. A ratio is the median over rounds of a strategy's
time by that of plain sampling in the same round; each round has its own random order. Extra
memory is the highest above that of plain sampling; kept bytes are what is held at the end.
"""

import argparse
import gc
import os
import platform
import random
import shlex
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import psutil
import torch
from architectures import ARCHITECTURES, PROMPT, build
from figure import bars
from strategies import STRATEGIES

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MIB = 2**20
SAFETY = 1.2  # of the bytes that a strategy is expected to need


@dataclass(slots=True)
class Cost:
    """What the runs of one strategy took, in the order of the rounds."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    kept_bytes: int = 0


@contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """Append the highest memory in use within the block: of the GPU, or the process's pages."""
    found: list[int] = []
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        yield found
        found.append(torch.cuda.max_memory_allocated())
        return
    process, stop, peak = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
    found.append(max(peak, process.memory_info().rss))


def sample(pipe: Any, name: str, steps: int, batch_size: int) -> None:
    """Denoise a batch of the prompt."""
    size_px = ARCHITECTURES[name].size_px
    pipe(
        [PROMPT] * batch_size,
        height=size_px,
        width=size_px,
        num_inference_steps=steps,
        output_type="latent",
        generator=[torch.Generator().manual_seed(i) for i in range(batch_size)],
    )


def measure(pipe: Any, name: str, strategy: str, args: argparse.Namespace, cost: Cost) -> None:
    """Run a strategy once and add what it took."""
    gc.collect()
    with peak_memory(args.device) as peak, STRATEGIES[strategy](pipe) as kept:
        _wait(args.device)
        started = time.perf_counter()
        sample(pipe, name, args.steps, args.batch_size)
        _wait(args.device)
        cost.seconds.append(time.perf_counter() - started)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept()}
        cost.kept_bytes = sum(storages.values())
    cost.peak_bytes += peak


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def bytes_of_everything(pipe: Any, name: str, args: argparse.Namespace) -> int:
    """Count what the probabilities of one step take, in a warm-up; storing needs two of them."""
    total = 0

    def see(layer: Any, inputs: tuple, kwargs: dict[str, Any]) -> None:
        nonlocal total
        hidden, text = inputs[0], kwargs.get("encoder_hidden_states")
        n_keys = (hidden if text is None else text).shape[1]
        total += len(hidden) * layer.heads * hidden.shape[1] * n_keys * hidden.element_size()

    layers = [m for n, m in pipe.unet.named_modules() if n.endswith(("attn1", "attn2"))]
    hooks = [layer.register_forward_pre_hook(see, with_kwargs=True) for layer in layers]
    sample(pipe, name, 1, args.batch_size)
    for hook in hooks:
        hook.remove()
    return 2 * total


def free_bytes(device: str) -> int:
    """Return the memory that is left."""
    return psutil.virtual_memory().available if device == "cpu" else torch.cuda.mem_get_info()[0]


def compare(name: str, args: argparse.Namespace) -> dict[str, Cost]:
    """Measure all strategies that fit, interleaved."""
    pipe = build(name, args.device, DTYPES[args.dtype])
    costs = {strategy: Cost() for strategy in STRATEGIES if strategy in args.strategies}
    everything = next(name for name in STRATEGIES if name.startswith("store everything"))
    needed = bytes_of_everything(pipe, name, args)
    if everything in costs and SAFETY * needed > free_bytes(args.device):
        print(f"{name}: {everything} needs {needed / MIB:.0f} MiB, left out", file=sys.stderr)
        del costs[everything]
    for strategy in costs:  # the first run of each allocates and picks kernels
        measure(pipe, name, strategy, args, Cost())
    order = random.Random(0)
    for round_ in range(args.rounds):
        for strategy in order.sample(list(costs), len(costs)):
            measure(pipe, name, strategy, args, costs[strategy])
        print(f"{name}: round {round_ + 1}/{args.rounds}", file=sys.stderr, flush=True)
    return costs


def ratio(cost: Cost, plain: Cost) -> float:
    """Return the median over rounds of the time relative to plain sampling."""
    return statistics.median(a / b for a, b in zip(cost.seconds, plain.seconds, strict=True))


def extra_bytes(cost: Cost, plain: Cost) -> int:
    """Return the median over rounds of the peak above that of plain sampling, at least 0."""
    pairs = zip(cost.peak_bytes, plain.peak_bytes, strict=True)
    return max(0, int(statistics.median(a - b for a, b in pairs)))


def table(costs: dict[str, Cost]) -> list[str]:
    """Write the costs as rows of Markdown."""
    plain = costs["plain"]
    rows = [
        "| strategy | seconds | time ratio | its range | peak extra MiB | kept MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        ratios = sorted(a / b for a, b in zip(cost.seconds, plain.seconds, strict=True))
        rows.append(
            f"| {name} | {statistics.median(cost.seconds):.3f} | {ratio(cost, plain):.3f} |"
            f" {ratios[0]:.3f} to {ratios[-1]:.3f} | {extra_bytes(cost, plain) / MIB:.1f} |"
            f" {cost.kept_bytes / MIB:.2f} |"
        )
    return rows


def picture(name: str, costs: dict[str, Cost], caption: str) -> str:
    """Draw time ratios and kept bytes."""
    plain = costs["plain"]
    ratios = [(n, ratio(c, plain), f"{ratio(c, plain):.2f}") for n, c in costs.items()]
    kept = [(n, c.kept_bytes, f"{c.kept_bytes / MIB:.2f} MiB") for n, c in costs.items()]
    panels = [("time by that of plain sampling", ratios, False), ("kept (log scale)", kept, True)]
    return bars(f"{name}: {caption}", panels)


def report(results: dict[str, dict[str, Cost]], args: argparse.Namespace) -> str:
    """Write all tables with what they were measured on."""
    gpu = "" if args.device == "cpu" else f"{torch.cuda.get_device_name()}, "
    lines = [
        "# Cost of capture",
        "",
        f"Command: `python {shlex.join(sys.argv)}`.",
        f"{gpu}{os.cpu_count()} cores, {torch.get_num_threads()} threads, {args.dtype}; torch"
        f" {torch.__version__}, diffusers {diffusers.__version__}, Python"
        f" {platform.python_version()}.",
        f"{args.steps} steps, batch of {args.batch_size}, guidance on, {args.rounds} rounds.",
    ]
    for name, costs in results.items():
        size_px = ARCHITECTURES[name].size_px
        lines += ["", f"## {name}, {size_px} x {size_px} px", "", *table(costs)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print, and write the report and the figures where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=["tiny"])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="writes OUT.md, and OUT_MODEL.svg of each model")
    args = parser.parse_args()
    args.strategies = ["plain", *(name for name in args.strategies if name != "plain")]
    results = {name: compare(name, args) for name in args.models}
    text = report(results, args)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text(text, "utf-8")
        caption = f"{args.device}, {args.dtype}, {args.steps} steps, batch {args.batch_size}"
        for name, costs in results.items():
            svg = picture(name, costs, caption)
            args.out.with_name(f"{args.out.stem}_{name}.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
