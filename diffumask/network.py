"""What the capture must know of a kind of denoising network."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from diffumask.attention import Positions, SizeHW
from diffumask.errors import InputError
from diffumask.tokens import word_positions

Rotary = tuple[Tensor, Tensor]


class Inputs(NamedTuple):
    """What one evaluation is given: images of all passes, the finest grid, and its timestep."""

    batch_size: int
    latent_hw: SizeHW
    timestep: Tensor
    device: torch.device


@runtime_checkable
class Network(Protocol):
    """A kind of network: where its attention to the text is, and its formula there."""

    module: nn.Module

    def text_layers(self) -> dict[str, nn.Module]:
        """Return the layers whose pixels attend to the text, by the name of their processor."""
        ...

    def self_layers(self) -> dict[str, nn.Module]:
        """Return the layers whose pixels attend to each other alone, likewise."""
        ...

    def check(self, name: str, layer: Any) -> None:
        """Raise `InputError` for a layer whose formula is unknown."""
        ...

    def factor(self, name: str) -> int:
        """Return by how much the grid of a layer is smaller than the latents: 1, 2, 4, ..."""
        ...

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of one evaluation."""
        ...

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in the sequence of keys; `arguments` of encode_prompt."""
        ...

    def word_attention(
        self,
        layer: Any,
        hidden: Float[Tensor, "image token channel"],
        text: Float[Tensor, "image key text_channel"] | None,
        rotary: Rotary | None,
        positions: Int64[Tensor, "image column"],
    ) -> Float32[Tensor, "image pixel column"]:
        """Return one layer's attention to the keys at some positions, averaged over heads."""
        ...

    def self_attention(
        self,
        layer: Any,
        hidden: Float[Tensor, "image pixel channel"],
        values: Float32[Tensor, "image pixel column"],
    ) -> Float32[Tensor, "image pixel column"]:
        """Return one layer's self-attention times values, averaged over heads."""
        ...


def heads_apart(
    projected: Float[Tensor, "image token channels"], n_heads: int
) -> Float[Tensor, "image head token channel"]:
    """Give each head its channels."""
    return projected.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def check_processor(name: str, processor: object, known: tuple[type, ...], advice: str) -> None:
    """Raise `InputError` unless the processor is of exactly one of the known classes."""
    if type(processor) not in known:
        kinds = " or ".join(kind.__name__ for kind in known)
        raise InputError(f"expected {kinds} at {name}, got {type(processor).__name__}; {advice}")


def text_positions(
    pipe: Any, tokenizer: Any, text: str, word: str, max_length: int | None = None
) -> Positions:
    """Return where a word stands for one of the pipeline's tokenizers."""

    def spelled(part: str) -> str:
        """Write a token of textual inversion that stands for several as the pipeline does."""
        if isinstance(pipe, TextualInversionLoaderMixin):
            (part,) = pipe.maybe_convert_prompt([part], tokenizer)
        return part

    return word_positions(tokenizer, spelled(text), spelled(word), max_length)
