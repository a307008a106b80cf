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

from diffumask.attention import Attention
from diffumask.capture_joint import FluxAttention, SD3Attention
from diffumask.capture_unet import UNetAttention
from diffumask.defaults import RESOLUTIONS, STEPS, Steps
from diffumask.errors import InputError
from diffumask.network import Network
from diffumask.recording import MatrixRecorder, Recorder, Run, SpreadRecorder, Words
from diffumask.steps import check_steps

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
    steps: Steps = STEPS,
    layers: Callable[[str], bool] | None = None,
    resolutions: Collection[int] | None = RESOLUTIONS,
    self_attention: bool | str = False,
) -> Iterator[Attention]:
    """Average the attention to some words while the pipeline is called once inside the block.

    `words` is one list for all prompts, or one list per prompt. Only the half of the batch that
    sees the prompt counts when guidance is on. The image is the one the pipeline makes without
    capture, bit for bit, and the pipeline is as before after the block.

    What counts (the defaults are in `diffumask.defaults`):
    `steps` is a share (start, stop) of the pipeline's trajectory, 0 its first step, or a function
    of the index and the number of its steps; a step is a distinct timestep of the scheduler.
    `layers` is a function of a layer's name, as in `attn_processors` of the network.
    `resolutions` are factors by which layers are coarser than the latents: 1, 2, 4, ...
    `self_attention` fills `Attention.spread_maps` too, or if it is "matrix"
    `Attention.self_matrices`, of the finest grid of at most `MAX_MATRIX_CELLS` cells.

    Raises `InputError` for a capture inside another, for attention processors it does not know,
    for choices that leave nothing, for a block without a pipeline call, and, from the call of
    the pipeline, for a word that is not in its prompt or is cut off.
    """
    if isinstance(words, str):
        raise InputError(f"expected a list of words, got {words!r}; put it in a list")
    check_steps(steps)
    module = _denoiser(pipe)
    network = _network(module, pipe)
    run = Run(pipe, network, words, steps)
    recorders = _recorders(run, _chosen_layers(network, layers, resolutions), self_attention)
    run.recorders = list(recorders.values())

    with _put_back(pipe, recorders):
        for layer, recorder in recorders.items():
            layer.set_processor(recorder)
        pipe.encode_prompt = run.seeing_prompts(pipe.encode_prompt)
        with _before_each_call(module, run.see_evaluation):
            yield run.attention
    if not run.n_evaluations:
        raise InputError("expected a pipeline call inside the capture, got none; call it there")


@contextmanager
def _put_back(pipe: DiffusionPipeline, layers: Iterable[Any]) -> Iterator[None]:
    """Leave the pipeline's `encode_prompt` and the layers' processors as they were."""
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
    run: Run, text_layers: Mapping[str, Any], self_attention: bool | str
) -> dict[Any, Recorder]:
    """Return what takes the place of the processor of each layer."""
    network = run.network
    recorders: dict[Any, Recorder] = {
        layer: Recorder(layer.processor, run, layer, network.factor(name))
        for name, layer in text_layers.items()
    }
    if not self_attention:
        return recorders
    kinds: dict[bool | str, type[Recorder]] = {True: SpreadRecorder, "matrix": MatrixRecorder}
    if self_attention not in kinds:
        raise ValueError(f"expected one of {list(kinds)}, got self_attention={self_attention!r}")

    self_layers = cast(dict[str, Any], network.self_layers())
    if not self_layers:
        raise InputError("expected a network with self-attention apart, got one with joint layers")
    factors = {recorder.factor for recorder in recorders.values()}
    for name, layer in self_layers.items():
        network.check(name, layer)
        if network.factor(name) in factors:
            recorders[layer] = kinds[self_attention](
                layer.processor, run, layer, network.factor(name)
            )
    return recorders


@contextmanager
def _before_each_call(module: nn.Module, see: Callable[..., None]) -> Iterator[None]:
    """Call `see` before each call of a module, outside of what is compiled."""
    compiled = module._compiled_call_impl  # set by module.compile(), and it holds the hooks
    if compiled is None:
        hook = module.register_forward_pre_hook(see, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
        return

    def seeing(*args: Any, **kwargs: Any) -> Any:
        see(module, args, kwargs)
        return compiled(*args, **kwargs)

    module._compiled_call_impl = seeing
    try:
        yield
    finally:
        module._compiled_call_impl = compiled
