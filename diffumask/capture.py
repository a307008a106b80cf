"""Capture of a pipeline's cross-attention while it samples, without a change to the image."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import TextualInversionLoaderMixin
from diffusers.models.attention_processor import Attention as AttentionLayer
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

from diffumask.attention import Attention, Positions, SizeHW, grid_size, word_attention
from diffumask.errors import InputError
from diffumask.tokens import word_positions

KNOWN_PROCESSORS = (AttnProcessor, AttnProcessor2_0)
UNKNOWN_PARTS = ("norm_q", "norm_k", "norm_cross", "group_norm", "spatial_norm")


@contextmanager
def capture(
    pipe: DiffusionPipeline, words: Sequence[str] | Sequence[Sequence[str]]
) -> Iterator[Attention]:
    """Average the attention to some words while the pipeline is called once inside the block.

    `words` is one list for all prompts, or one list per prompt. Only the half of the batch that
    sees the prompt counts when guidance is on. The image is the one the pipeline makes without
    capture, bit for bit, and the pipeline is as before after the block.

    Raises `InputError` for a capture inside another, for attention processors it does not know,
    and, from the call of the pipeline, for a word that is not in its prompt or is cut off.
    """
    if isinstance(words, str):
        raise InputError(f"expected a list of words, got {words!r}; put it in a list")
    processors = pipe.unet.attn_processors
    layers = _cross_attention_layers(pipe.unet, processors)
    _check_layers(layers)

    run = _Run(pipe, words)
    own_encode_prompt = vars(pipe).get("encode_prompt")
    hook = pipe.unet.register_forward_pre_hook(run.see_latents, with_kwargs=True)
    try:
        recorders = {name: _Recorder(processors[name], run) for name in layers}
        pipe.unet.set_attn_processor({**processors, **recorders})
        pipe.encode_prompt = run.seeing_prompts(pipe.encode_prompt)
        yield run.attention
    finally:
        hook.remove()
        vars(pipe).pop("encode_prompt", None)
        if own_encode_prompt is not None:
            pipe.encode_prompt = own_encode_prompt
        pipe.unet.set_attn_processor(dict(processors))  # a copy: the method empties its argument


class _Recorder:
    """Calls a layer's own processor, then records what the layer attends to."""

    def __init__(self, processor: Callable[..., Tensor], run: "_Run") -> None:
        self.processor = processor
        self.run = run

    # The names matter: diffusers passes only the arguments that it finds in this signature.
    def __call__(
        self,
        attn: AttentionLayer,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        out = self.processor(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs
        )
        if attention_mask is not None or encoder_hidden_states is None:
            raise InputError("expected cross-attention to the whole text, got a mask or no text")
        self.run.see_layer(attn, hidden_states, encoder_hidden_states)
        return out


class _Run:
    """One call of the pipeline as seen from inside: its prompts, its latents, its layers."""

    def __init__(
        self, pipe: DiffusionPipeline, words: Sequence[str] | Sequence[Sequence[str]]
    ) -> None:
        self.attention = Attention()
        self.pipe = pipe
        self.words = words
        self.positions: Tensor | None = None
        self.n_passes = 1
        self.latent_hw: SizeHW = (0, 0)

    def seeing_prompts(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `encode_prompt` so that it also tells the positions of the words."""
        signature = inspect.signature(encode_prompt)

        @functools.wraps(encode_prompt)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.positions is not None:
                raise InputError("expected one pipeline call per capture, got two; open another")
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            wanted = self._wanted_positions(bound.arguments)
            embeddings = encode_prompt(*args, **kwargs)
            self.positions = self.attention.expect(wanted).to(embeddings[0].device)
            self.n_passes = 2 if bound.arguments["do_classifier_free_guidance"] else 1
            return embeddings

        return wrapper

    def _wanted_positions(self, arguments: Mapping[str, Any]) -> list[dict[str, Positions]]:
        prompt = arguments["prompt"]
        if prompt is None or arguments.get("prompt_2") not in (None, prompt):
            raise InputError("expected the text as `prompt` alone, got embeddings or a `prompt_2`")
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        of_prompt = [
            {
                word: word_positions(self.pipe.tokenizer, self._spell(text), self._spell(word))
                for word in words
            }
            for text, words in zip(texts, _words_per_prompt(self.words, len(texts)), strict=True)
        ]
        n_images = arguments["num_images_per_prompt"]
        return [positions for positions in of_prompt for _ in range(n_images)]

    def _spell(self, text: str) -> str:
        """Write a token of textual inversion that stands for several as the pipeline does."""
        if isinstance(self.pipe, TextualInversionLoaderMixin):
            (text,) = self.pipe.maybe_convert_prompt([text], self.pipe.tokenizer)
        return text

    def see_latents(self, unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the size of the UNet's input; this is a forward pre-hook."""
        h, w = (args[0] if args else kwargs["sample"]).shape[-2:]
        self.latent_hw = (h, w)

    @torch.no_grad()
    def see_layer(self, layer: AttentionLayer, hidden: Tensor, text: Tensor) -> None:
        """Add the attention of one layer at one step."""
        if self.positions is None:
            raise InputError("expected a pipeline call inside the capture, got a bare UNet call")
        n_images = len(self.positions)
        if len(hidden) != n_images * self.n_passes:
            raise InputError(
                f"expected a batch of {n_images} x {self.n_passes}, got {len(hidden)}:"
                " this kind of guidance cannot be captured"
            )
        assert layer.to_k is not None  # as only for processors with added keys, refused above
        q = layer.to_q(hidden[-n_images:]).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        k = layer.to_k(text[-n_images:]).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        weights = word_attention(q, k, self.positions, layer.scale)
        self.attention.add(grid_size(self.latent_hw, hidden.shape[1]), weights)


def _words_per_prompt(
    words: Sequence[str] | Sequence[Sequence[str]], n_prompts: int
) -> list[Sequence[str]]:
    shared = [word for word in words if isinstance(word, str)]
    if len(shared) == len(words) > 0:
        return [shared] * n_prompts
    if shared or len(words) != n_prompts:
        raise InputError(
            f"expected one list of words, or one for each of {n_prompts} prompts, got {words!r}"
        )
    return [of_prompt for of_prompt in words if not isinstance(of_prompt, str)]


def _cross_attention_layers(
    unet: nn.Module, processors: Mapping[str, Any]
) -> dict[str, AttentionLayer]:
    """Return the layers that attend to the text, by the name of their processor."""
    layers = {name: unet.get_submodule(name.removesuffix(".processor")) for name in processors}
    return {
        name: layer
        for name, layer in layers.items()
        if isinstance(layer, AttentionLayer) and layer.is_cross_attention
    }


def _check_layers(layers: Mapping[str, AttentionLayer]) -> None:
    if not layers:
        raise InputError("expected a UNet with cross-attention, got one without; use another model")
    for name, layer in layers.items():
        processor = layer.get_processor()
        if isinstance(processor, _Recorder):
            raise InputError(
                "expected a pipeline outside any capture, got one inside; end that first"
            )
        if type(processor) not in KNOWN_PROCESSORS:
            known = " or ".join(kind.__name__ for kind in KNOWN_PROCESSORS)
            raise InputError(
                f"expected {known} at {name}, got {type(processor).__name__};"
                " call pipe.unet.set_default_attn_processor() first"
            )
        unknown = [part for part in UNKNOWN_PARTS if getattr(layer, part) is not None]
        if unknown:
            raise InputError(f"expected plain attention at {name}, got one with {unknown}")
