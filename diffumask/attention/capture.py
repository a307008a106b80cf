"""Capture of a pipeline's attention to words while it samples, without a change to the image."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from diffusers import (
    DiffusionPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import nn

from diffumask.errors import InputError

from .calls import before_each_call
from .defaults import RESOLUTIONS, STEPS, Steps
from .joint import FluxAttention, SD3Attention
from .network import Network
from .recorders import HeadsRecorder, MatrixRecorder, Recorder
from .recording import Run, Words
from .running_means import Attention
from .steps import check_steps
from .unet import UNetAttention

NETWORKS: Mapping[type[nn.Module], Callable[..., Network]] = {
    UNet2DConditionModel: UNetAttention,
    SD3Transformer2DModel: SD3Attention,
    FluxTransformer2DModel: FluxAttention,
}


@contextmanager
def capture(
    pipe: DiffusionPipeline,
    words: Words,
    *,
    also: Words = (),
    steps: Steps = STEPS,
    layers: Callable[[str], bool] | None = None,
    resolutions: Collection[int] | None = RESOLUTIONS,
    self_attention: bool = False,
    heads: bool = False,
) -> Iterator[Attention]:
    """Average the attention to some words while the pipeline is called once inside the block.

    `words` is one list for all prompts, or one list per prompt; so is `also`, of words that are
    left out where the text encoder does not see them, instead of being refused. Only the half of
    the batch that sees the prompt counts when guidance is on. The image is the one the pipeline
    makes without capture, bit for bit, and the pipeline is as before after the block.

    What counts (the defaults are in `diffumask.attention.defaults`):
    `steps` is a share (start, stop) of the pipeline's trajectory, 0 its first step, or a function
    of the index and the number of its steps; a step is a distinct timestep of the scheduler.
    `layers` is a function of a layer's name, as in `attn_processors` of the network.
    `resolutions` are factors by which layers are coarser than the latents: 1, 2, 4, ...
    `self_attention` fills `Attention.self_matrices` too, of one grid of at most
    `MAX_MATRIX_CELLS` cells, which layers of more are pooled to.
    `heads` keeps each head of each layer apart in `Attention.head_maps`, as DAAM needs it.

    Raises `InputError` for a capture inside another, for attention processors and pipelines it
    does not know, for choices that leave nothing, from the call of the pipeline for a word that
    is not in its prompt or is cut off, and at the end of the block where there was no call or
    one whose maps would not be what they say: docs/capture.md lists what is refused.
    """
    if isinstance(words, str):
        raise InputError(f"expected a list of words, got {words!r}; put it in a list")
    check_steps(steps)
    module = _denoiser(pipe)
    network = _network(module, pipe)
    run = Run(pipe, network, words, steps, also)
    chosen = _chosen_layers(network, layers, resolutions)
    recorders = _recorders(run, chosen, self_attention, HeadsRecorder if heads else Recorder)
    run.recorders = list(recorders.values())
    encode_prompt = run.seeing_prompts(_encode_prompt(pipe))

    with _put_back(pipe, network.layers.values()):
        for layer, recorder in recorders.items():
            layer.set_processor(recorder)
        pipe.encode_prompt = encode_prompt
        with before_each_call(module, run.see_evaluation):
            yield run.attention
        run.check_whole()


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


def _network(module: Any, pipe: DiffusionPipeline) -> Network:
    plain = getattr(module, "_orig_mod", module)  # inside what torch.compile returned
    for kind, network in NETWORKS.items():
        if isinstance(plain, kind):
            return network(pipe, plain)
    known = ", ".join(kind.__name__ for kind in NETWORKS)
    raise InputError(f"expected one of {known}, got {type(plain).__name__}")


def _chosen_layers(
    network: Network,
    layers: Callable[[str], bool] | None,
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


def _recorders(
    run: Run, text_layers: Mapping[str, Any], self_attention: bool, kind: type[Recorder]
) -> dict[Any, Recorder]:
    """Return what takes the place of the processor of each layer."""
    network, evaluation = run.network, run.evaluation
    recorders: dict[Any, Recorder] = {
        layer: kind(layer.processor, evaluation, layer, name, network.factor(name))
        for name, layer in text_layers.items()
    }
    if not self_attention:
        return recorders

    self_layers = cast(dict[str, Any], network.self_layers())
    if not self_layers:
        raise InputError("expected a network with self-attention apart, got one with joint layers")
    factors = {recorder.factor for recorder in recorders.values()}
    for name, layer in self_layers.items():
        network.check(name, layer)
        if network.factor(name) in factors:
            recorders[layer] = MatrixRecorder(
                layer.processor, evaluation, layer, name, network.factor(name)
            )
    return recorders
