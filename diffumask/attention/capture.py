"""Capture of a pipeline's attention to words while it samples, without a change to the image."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from diffusers import DiffusionPipeline
from torch import nn

from diffumask.errors import InputError

from .calls import before_each_call
from .concepts import ConceptReader, ConceptStream, riding
from .defaults import BACKGROUND_CONCEPTS, MATRIX_STRIDES, RESOLUTIONS, Steps
from .families import network_of
from .network import Network
from .readers import HeadsReader, MatrixReader, Reader
from .reading import ATTENTION, OUTPUT, Layers, Reading
from .recorders import KernelRecorder, ProjectionRecorder, Recorder, kernel_recorder
from .recording import Run, Words
from .running_means import Attention
from .sizes import uncropped
from .steps import check_steps, check_strides
from .transformer import Transformer


@contextmanager
def capture(
    pipe: DiffusionPipeline,
    words: Words,
    *,
    also: Words = (),
    space: str | None = None,
    steps: Steps | None = None,
    layers: Layers | None = None,
    resolutions: Collection[int] | None = RESOLUTIONS,
    self_attention: bool = False,
    matrix_strides: tuple[int, int] = MATRIX_STRIDES,
    heads: bool = False,
    background: Sequence[str] = BACKGROUND_CONCEPTS,
) -> Iterator[Attention]:
    """Average the attention to some words while the pipeline is called once inside the block.

    `words` is one list for all prompts, or one list per prompt; so is `also`, of words that are
    left out where the text encoder does not see them, instead of being refused. Only the half of
    the batch that sees the prompt counts when guidance is on. The image is the one the pipeline
    makes without capture, bit for bit, and the pipeline is as before after the block.

    What counts (the defaults are in `diffumask.attention.defaults`; those of `space`, `steps` and
    `layers` are what is best known for the kind of network, its `readings`):
    `space` is "attention", the share of each pixel's attention that goes to the tokens of a word,
    or "output", how alike the outputs of pixel and word are among all words and the `background`
    (Helbling et al. 2025, ConceptAttention; for networks with joint attention).
    `steps` is a share (start, stop) of the pipeline's trajectory, 0 its first step, or a function
    of the index and the number of its steps; a step is a distinct timestep of the scheduler.
    `layers` is a function of a layer's name, as in `attn_processors` of the network.
    `resolutions` are factors by which layers are coarser than the latents: 1, 2, 4, ...
    `self_attention` fills `Attention.self_matrices` too, of one grid of at most
    `MAX_MATRIX_CELLS` cells, which layers of more are pooled to: of one in so many of the steps
    that count and of the layers of that grid, evenly spaced, as `matrix_strides` says. A network
    that is called in a loop of your own is seen at all steps, as their number is unknown.
    `heads` keeps each head of each layer apart in `Attention.head_maps`, as DAAM needs it.

    Raises `InputError` for a capture inside another, for attention processors and pipelines it
    does not know, for choices that leave nothing, from the call of the pipeline for a word that
    is not in its prompt or is cut off, and at the end of the block where there was no call or
    one whose maps would not be what they say: docs/capture.md lists what is refused.
    """
    if isinstance(words, str):
        raise InputError(f"expected a list of words, got {words!r}; put it in a list")
    module = _denoiser(pipe)
    network = network_of(module, pipe)
    reading = _reading(network, space, steps, layers)
    check_strides(matrix_strides)
    run = Run(pipe, network, words, reading.steps, also, matrix_strides)
    chosen = _chosen_layers(network, reading.layers, resolutions)
    readers = _readers(run, chosen, reading, heads)
    if self_attention:
        _add_matrices(run, readers, reading)
    if reading.space == OUTPUT:
        run.ride(_stream(module, run, readers), background)
    run.recorders = _recorders(run, readers)
    encode_prompt = run.seeing_prompts(_encode_prompt(pipe))

    with _put_back(pipe, network.layers.values()), uncropped(pipe):
        for recorder in run.recorders:
            recorder.layer.set_processor(recorder)
        pipe.encode_prompt = encode_prompt
        with _riding(run), before_each_call(module, run.see_evaluation):
            yield run.attention
        run.check_whole()


def has_self_attention(pipe: DiffusionPipeline) -> bool:
    """Whether `capture` can keep self-attention of a pipeline: linear attention has no matrix.

    Raises `InputError` for a pipeline of no known kind.
    """
    return bool(network_of(_denoiser(pipe), pipe).self_layers())


@contextmanager
def _put_back(pipe: DiffusionPipeline, layers: Iterable[Any]) -> Iterator[None]:
    """Leave the pipeline's `encode_prompt` and the layers' processors as they were.

    Those of all layers, as pipelines that set some of their own leave them after an error.
    """
    processors = {layer: layer.processor for layer in layers}
    own_encode_prompt = vars(pipe).get("encode_prompt")
    try:
        yield
    finally:
        vars(pipe).pop("encode_prompt", None)
        if own_encode_prompt is not None:
            pipe.encode_prompt = own_encode_prompt
        for layer, processor in processors.items():
            layer.set_processor(processor)


def _encode_prompt(pipe: Any) -> Callable[..., Any]:
    """Return the method that encodes the prompt. Refuses pipelines that use it otherwise."""
    kind = type(pipe).__name__
    if not hasattr(pipe, "encode_prompt"):
        raise InputError(f"expected a pipeline with a method encode_prompt, got {kind}")
    if hasattr(pipe, "get_views"):
        raise InputError(f"expected a pipeline that sees the whole image, got {kind}")
    return pipe.encode_prompt


def _denoiser(pipe: DiffusionPipeline) -> Any:
    for name in ("unet", "transformer"):
        if getattr(pipe, name, None) is not None:
            return getattr(pipe, name)
    raise InputError(f"expected a pipeline with a UNet or a transformer, got {type(pipe).__name__}")


def _reading(
    network: Network, space: str | None, steps: Steps | None, layers: Layers | None
) -> Reading:
    """Return what the caller says, and for what is left open what is best known."""
    known = {one.space: one for one in network.readings}
    own = known.get(space or network.readings[0].space)
    if own is None:
        raise InputError(f"expected space {' or '.join(known)} of this network, got {space!r}")
    if steps is not None:
        check_steps(steps)
    return replace(
        own,
        steps=own.steps if steps is None else steps,
        layers=own.layers if layers is None else layers,
    )


def _chosen_layers(
    network: Network,
    layers: Layers | None,
    resolutions: Collection[int] | None,
) -> dict[str, nn.Module]:
    """Return the layers to capture; check all that attend to the text, so that none is missed."""
    every = network.text_layers()
    if any(isinstance(getattr(layer, "processor", None), Recorder) for layer in every.values()):
        raise InputError("expected a pipeline outside any capture, got one inside; end that first")
    if not every:
        raise InputError("expected a network that attends to the text, got one that does not")
    for name, layer in every.items():
        network.check(name, layer)
    chosen = {
        name: layer
        for name, layer in every.items()
        if (layers is None or layers(name))
        and (resolutions is None or network.factor(name) in resolutions)
    }
    if not chosen:
        factors = sorted({network.factor(name) for name in every})
        raise InputError(
            f"expected layers and resolutions among {factors} that keep a layer, got none of"
            f" {list(every)}"
        )
    return chosen


def _readers(
    run: Run, chosen: Mapping[str, Any], reading: Reading, heads: bool
) -> dict[str, list[Reader]]:
    """Return what reads the words in each layer, by the layer's name."""
    if heads and reading.space == OUTPUT:
        raise InputError("expected heads of attention, got space output; leave one out")
    kinds: dict[str, type[Reader]] = {
        ATTENTION: HeadsReader if heads else Reader,
        OUTPUT: ConceptReader,
    }
    kind = kinds[reading.space]
    return {name: [_reader(kind, run, name, layer)] for name, layer in chosen.items()}


def _reader(kind: type[Reader], run: Run, name: str, layer: Any) -> Reader:
    return kind(run.evaluation, name, run.network.factor(name), layer.heads)


def _add_matrices(run: Run, readers: dict[str, list[Reader]], reading: Reading) -> None:
    """Have the self-attention kept of layers whose grid is one of the words'."""
    network = run.network
    every = cast(dict[str, Any], network.self_layers())
    if not every:
        raise InputError(
            "expected self-attention with a matrix, got a network that has none, as its is linear;"
            " leave out self_attention"
        )
    factors = {reader.factor for of_layer in readers.values() for reader in of_layer}
    if isinstance(network, Transformer) and reading.layers is not None:
        every = {name: one for name, one in every.items() if reading.layers(name)} or every
    for name, layer in every.items():
        network.check(name, layer)
        if network.factor(name) in factors:
            readers.setdefault(name, []).append(_reader(MatrixReader, run, name, layer))


def _stream(module: nn.Module, run: Run, readers: dict[str, list[Reader]]) -> ConceptStream:
    """Return the concepts' way through the blocks, up to the last that is read."""
    network = cast(Transformer, run.network)
    if module is not network.transformer or module._compiled_call_impl is not None:
        raise InputError("expected a network that is not compiled, got one; take space attention")
    if getattr(module, "is_cache_enabled", False):
        raise InputError("expected a network without a cache, got one; disable it")
    own: dict[str, ConceptReader] = {
        name: reader
        for name, of_layer in readers.items()
        for reader in of_layer
        if isinstance(reader, ConceptReader)
    }
    streams = network.streams()
    strange = sorted(set(own) - {name for _, name in streams})
    if strange:
        raise InputError(f"expected layers with a stream of the text, got {strange[0]}")
    last = max(i for i, (_, name) in enumerate(streams) if name in own)
    for _, name in streams[: last + 1]:
        readers.setdefault(name, [])
    return ConceptStream(run.evaluation, network, own, streams[: last + 1])


@contextmanager
def _riding(run: Run) -> Iterator[None]:
    if run.stream is None:
        yield
        return
    with riding(run.stream):
        yield


def _recorders(run: Run, readers: Mapping[str, list[Reader]]) -> list[Recorder]:
    """Return what takes the place of the processor of each layer that is read."""
    found: list[Recorder] = []
    for name, of_layer in readers.items():
        layer: Any = run.network.layers[name]
        known = isinstance(run.network, Transformer)
        kind = kernel_recorder(type(layer.processor)) if known else ProjectionRecorder
        recorder = kind(layer.processor, run.evaluation, layer, name, of_layer)
        if isinstance(recorder, KernelRecorder):
            recorder.stream = run.stream
        found.append(recorder)
    return found
