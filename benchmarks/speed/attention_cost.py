"""What does reading attention add to a step of a UNet? Kernels, bytes and arithmetic by layer.

Counted on networks without memory (torch's meta device) in half precision, as a GPU would run
them: a kernel is an operation that is no view, its bytes are those of all that it is given and
gives, the network's own attention is one fused kernel. So bytes are an upper bound, below which
caches of the device stay. With `--measure` the same is run on the CPU in single precision, an
evaluation that sees self-attention and one that does not: CPU seconds of reading, beside those of
the rest of the evaluation. The blocks of a stack then share their weights, as the work is the same
and what SDXL needs of memory is a quarter.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import reduce
from types import SimpleNamespace
from typing import Annotated, Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.report import Report, table, tell
from diffumask.attention import probabilities
from diffumask.attention.defaults import EVERY_MATRIX, MATRIX_STRIDES
from diffumask.attention.families.unet import UNetAttention
from diffumask.attention.pooling import matrix_factor
from diffumask.attention.readers import Evaluation, MatrixReader, Reader
from diffumask.attention.recorders import ProjectionRecorder, Recorder
from diffumask.attention.running_means import Attention, halved
from diffumask.attention.steps import evenly_spaced

from .counting import NETWORK, Counter, FusedAttention, Work
from .flops import SIZES_PX, unet_of

TOKENS, COLUMNS, STEPS = 77, 3, 20


@dataclass(frozen=True, slots=True)
class Watched:
    """A UNet whose attention is read, of one image with guidance, and the matrix's layers."""

    unet: Any
    inputs: dict[str, Any]
    matrices: Sequence[MatrixReader]

    def step(self, *, sees_matrices: bool) -> None:
        """Evaluate the network once."""
        for reader in self.matrices:
            reader.due = sees_matrices
        with torch.no_grad():
            self.unet(**self.inputs)


def watched(name: str, device: str, dtype: torch.dtype, batch_size: int) -> Watched:
    """Build the network of a model of random weights, with recorders in its layers."""
    cells = SIZES_PX[name] // 8
    with torch.device("meta"):
        unet: Any = unet_of(name)
        unet.to(dtype)
    if device != "meta":
        _share_stacks(unet)
        unet.to_empty(device=device)
        for one in unet.parameters():
            nn.init.normal_(one, std=0.02)
    of_pipe: Any = SimpleNamespace()
    network: Any = UNetAttention(of_pipe, unet)
    positions = torch.arange(1, 1 + COLUMNS, device=device)[None]
    weight = torch.ones((), device=device)
    evaluation = Evaluation(network, batch_size, slice(-1, None), True, positions, weight)
    attention, matrices = Attention(), []
    sizes = {
        factor: halved((cells, cells), factor) for factor in map(network.factor, network.layers)
    }
    text, grid = network.text_layers(), matrix_factor(sizes)
    for of_layer, layer in network.layers.items():
        factor: int = network.factor(of_layer)
        kind = Reader if of_layer in text else MatrixReader
        if kind is MatrixReader and factor != grid:
            continue
        reader = kind(evaluation, of_layer, factor, layer.heads)
        reader.start(attention, sizes[factor])
        matrices += [reader] if isinstance(reader, MatrixReader) else []
        of_recorder = layer.processor, evaluation, layer, of_layer, [reader]
        layer.set_processor(ProjectionRecorder(*of_recorder))
    inputs: dict[str, Any] = {
        "sample": torch.zeros(batch_size, 4, cells, cells, device=device, dtype=dtype),
        "timestep": torch.ones((), device=device),
        "encoder_hidden_states": torch.zeros(
            batch_size, TOKENS, unet.config["cross_attention_dim"], device=device, dtype=dtype
        ),
    }
    if name == "sdxl":
        more = {"text_embeds": 1280, "time_ids": 6}
        inputs["added_cond_kwargs"] = {
            one: torch.zeros(batch_size, n, device=device, dtype=dtype) for one, n in more.items()
        }
    return Watched(unet, inputs, matrices)


def _share_stacks(unet: nn.Module) -> None:
    """Give all blocks of a stack the first one's weights: the same work with fewer of them."""
    for stack in unet.modules():
        if isinstance(stack, nn.ModuleList) and "BasicTransformerBlock" in {
            type(one).__name__ for one in stack
        }:
            for block in list(stack)[1:]:
                for own, first in zip(block.modules(), stack[0].modules(), strict=True):
                    own._parameters = first._parameters


def counted(name: str, batch_size: int) -> dict[bool, dict[str, Work]]:
    """Count an evaluation with matrices and one without, by layer that is read."""
    found = {}
    for sees_matrices in (True, False):
        of_model = watched(name, "meta", torch.float16, batch_size)
        counter = Counter()
        widens = patch.object(probabilities, "widens", lambda q: q.dtype == torch.float16)
        with counter, FusedAttention(counter), _named(counter), widens:
            of_model.step(sees_matrices=sees_matrices)
        for work in counter.found.values():
            work.seconds = 0.0  # which tell nothing here
        found[sees_matrices] = counter.found
    return found


def measured(name: str, batch_size: int) -> dict[bool, dict[str, Work]]:
    """Take the CPU seconds of the same, of the second evaluation of each kind."""
    of_model = watched(name, "cpu", torch.float32, batch_size)
    of_model.step(sees_matrices=True)
    found = {}
    for sees_matrices in (True, False):
        counter = Counter()
        started = time.process_time()
        with _named(counter):
            of_model.step(sees_matrices=sees_matrices)
        took = time.process_time() - started
        reading = sum(work.seconds for work in counter.found.values())
        counter.found[NETWORK].seconds = took - reading
        tell(f"{name}: {took:.1f} CPU s, of these {reading:.2f} for reading")
        found[sees_matrices] = counter.found
    return found


@contextmanager
def _named(counter: Counter) -> Iterator[None]:
    """Set the name of the layer while it is read, and take the time."""
    read = Recorder.read

    def named(self: Recorder, seen: Any) -> Any:
        counter.name = self.name
        started = time.process_time()
        try:
            return read(self, seen)
        finally:
            counter.found[self.name].seconds += time.process_time() - started
            counter.name = NETWORK

    with patch.object(Recorder, "read", named):
        yield


def rows_of(found: Mapping[bool, Mapping[str, Work]]) -> Iterator[tuple[object, ...]]:
    """Write a row for the network, then what is added to it, and then to both by matrices."""
    plain, seen = found[False][NETWORK], found[True]
    yield ("the network", "", *_cells(plain), "")
    text = _sum(work for name, work in seen.items() if "attn2" in name)
    n_text = sum("attn2" in name for name in seen)
    yield ("+ attention to the words", n_text, *_cells(text), _ratios(text, plain))
    of_pixels = [work for name, work in seen.items() if "attn1" in name and work.kernels]
    before = plain.plus(text)
    for strides in dict.fromkeys([EVERY_MATRIX, (4, 1), (4, 2), MATRIX_STRIDES]):
        layers = [of_pixels[i] for i in evenly_spaced(len(of_pixels), strides[1])]
        share = len(evenly_spaced(STEPS, strides[0])) / STEPS
        of_step = Work().plus(_sum(layers), share)
        told = f"+ self-attention at {share:.0%} of the steps"
        yield (told, len(layers), *_cells(of_step), _ratios(of_step, before))


def layer_rows(found: Mapping[str, Work]) -> Iterator[tuple[object, ...]]:
    """Write a row for each kind of layer that is read: how many there are, and one reading."""
    kinds: dict[tuple[str, float, float], list[Work]] = defaultdict(list)
    for name, work in found.items():
        if name != NETWORK and work.kernels:
            what = "the words" if "attn2" in name else "pixels"
            kinds[what, work.bytes, work.flops].append(work)
    for (what, *_), alike in sorted(kinds.items(), key=lambda kind: kind[0]):
        one = _sum(alike).over(len(alike))
        yield (what, len(alike), one.kernels, f"{one.bytes / 1e6:.1f}", f"{one.flops / 1e9:.2f}")


def _sum(works: Iterable[Work]) -> Work:
    return reduce(Work.plus, works, Work())


def _ratios(added: Work, before: Work) -> str:
    pairs = zip(astuple(added)[1:], astuple(before)[1:], strict=True)
    return ", ".join(f"{1 + part / whole:.3f}" if whole else "-" for part, whole in pairs)


def _cells(work: Work) -> tuple[object, ...]:
    counts = f"{work.kernels:.0f}", f"{work.bytes / 1e9:.2f}", f"{work.flops / 1e12:.3f}"
    return (*counts, f"{work.seconds:.2f}" if work.seconds else "")


def main(
    models: Annotated[Sequence[str], "architectures", ["sd15", "sdxl"]] = ("sd15", "sdxl"),
    measure: Annotated[bool, "evaluate the networks on the CPU too"] = False,
    guidance: Annotated[bool, "with the half of the batch that has no prompt"] = True,
) -> Report:
    """Count, and measure where asked."""
    lines = []
    for name in models:
        found = counted(name, 1 + guidance)
        if measure:
            for sees_matrices, of_layers in measured(name, 1 + guidance).items():
                for layer, work in of_layers.items():
                    found[sees_matrices][layer].seconds = work.seconds
        size = f"{SIZES_PX[name]} px, {'with' if guidance else 'without'} guidance"
        head = ("a step", "layers", "kernels", "GB", "TFLOP", "CPU s", "ratio: bytes, FLOP, CPU s")
        lines += [f"## {name}, {size}", "", *table(head, rows_of(found)), ""]
        head = ("reading attention to", "layers", "kernels", "MB", "GFLOP")
        lines += [*table(head, layer_rows(found[True])), ""]
    facts = [
        f"One image, {COLUMNS} columns of words, {STEPS} steps. Counted: kernels, bytes, FLOP, of"
        " half precision. Measured, where shown: CPU seconds, in single precision.",
        "Ratios of self-attention are to the network with attention to the words.",
    ]
    return Report("What reading attention adds to a step", facts, lines[:-1])
