"""How many pairs an hour on a GPU? An estimate from counts and data sheets; nothing is measured.

The network and the VAE's decoder take the arithmetic of `flops`, at the share of the peak that
`--dry-run` assumes; reading attention, that moves more than it computes, the bytes of
`attention_cost` at the whole bandwidth of the memory, all of them as if no cache held any; both the
launch of each kernel where that is longer, spread over the images of the default batch. Masks and
files run beside it, in workers whose CPU seconds a pair are given.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from benchmarks.report import Report, table
from diffumask.attention.defaults import EVERY_MATRIX, MATRIX_STRIDES
from diffumask.attention.steps import evenly_spaced
from diffumask.generation.batch import by_memory
from diffumask.generation.cost import GPU_GIB, GPUS, MODELS, UTILIZATION, Work

from .attention_cost import counted
from .counting import NETWORK
from .counting import Work as Counts

BANDWIDTH_TB_S = {"A100": 2.0, "RTX 4090": 1.0, "H100": 3.35, "H200": 4.8}  # of data sheets
LAUNCH_S = 5e-6  # of a kernel, from Python
NAMES, STEPS = ("sd15", "sdxl"), 30
PASSES = 2  # with guidance

of_evaluation = functools.cache(counted)


def reading_s(gpu: str, work: Counts, batch_size: int) -> float:
    """Return the seconds that reading takes an image: its bytes, or the launch of its kernels."""
    return max(work.bytes / (BANDWIDTH_TB_S[gpu] * 1e12), work.kernels * LAUNCH_S / batch_size)


def reading(found: Mapping[str, Counts], strides: tuple[int, int]) -> tuple[Counts, Counts]:
    """Return what a step adds for the words, and on the mean for self-attention."""
    words = [work for name, work in found.items() if "attn2" in name]
    of_pixels = [work for name, work in found.items() if "attn1" in name and work.kernels]
    layers = [of_pixels[i] for i in evenly_spaced(len(of_pixels), strides[1])]
    share = len(evenly_spaced(STEPS, strides[0])) / STEPS
    text, matrices = Counts(), Counts()
    for work in words:
        text = text.plus(work)
    for work in layers:
        matrices = matrices.plus(work, share)
    return text, matrices


def seconds(name: str, gpu: str, strides: tuple[int, int] | None) -> tuple[float, int]:
    """Return the seconds of an image, and the batch; strides of None read no attention."""
    model = MODELS[name]
    work = Work(name, model.side_px, model.side_px, STEPS, True, 1)
    free_bytes = GPU_GIB[gpu] * 2**30
    batch_size = by_memory(work, "float16", free_bytes, is_gpu=True).size
    found = of_evaluation(name, PASSES)
    flop_s = GPUS[gpu] * 1e12 * UTILIZATION
    step = PASSES * 1e12 * model.step_tflop / flop_s
    step = max(step, found[False][NETWORK].kernels * LAUNCH_S / batch_size)
    total = STEPS * step + 1e12 * model.decode_tflop / flop_s
    if strides is not None:
        parts = reading(found[True], strides)
        total += STEPS * sum(reading_s(gpu, part, batch_size) for part in parts)
    return total, batch_size


def main(
    gpus: Annotated[Sequence[str], "data sheets", BANDWIDTH_TB_S] = tuple(BANDWIDTH_TB_S),
    mask_cpu_s: Annotated[float, "of masks and files, by `writer_speed`"] = 0.12,
) -> Report:
    """Estimate for each model and GPU."""
    rows = []
    for name in NAMES:
        for gpu in gpus:
            plain, batch_size = seconds(name, gpu, None)
            ours, _ = seconds(name, gpu, MATRIX_STRIDES)
            every, _ = seconds(name, gpu, EVERY_MATRIX)
            workers = math.ceil(mask_cpu_s / ours)
            pairs = f"{3600 / plain:.0f}", f"{3600 / ours:.0f}"
            ratios = f"{ours / plain:.3f}", f"{every / plain:.3f}"
            rows.append((name, gpu, batch_size, *pairs, *ratios, workers))
    head = (
        *("model", "GPU", "batch", "images/hour, plain", "pairs/hour"),
        *("ratio", "ratio with all matrices", "workers for masks"),
    )
    facts = [
        f"Estimates, not measured: {STEPS} steps with guidance, {UTILIZATION:.0%} of the peak,"
        f" {LAUNCH_S * 1e6:g} us a kernel, {mask_cpu_s:g} CPU s of masks and files a pair.",
    ]
    return Report("Pairs per hour on GPUs, estimated", facts, table(head, rows))
