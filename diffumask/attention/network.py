"""What the capture must know of a kind of denoising network."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from transformers import CLIPTokenizer, T5Tokenizer

from diffumask.errors import InputError

from .running_means import Positions, SizeHW
from .tokens import word_positions

Rotary = tuple[Tensor, Tensor]
ImagePositions = Int64[Tensor, "image column"]
Weights = Float32[Tensor, "image pixel column"]
HeadWeights = Float32[Tensor, "image head pixel column"]
KNOWN_TOKENIZERS = (CLIPTokenizer, T5Tokenizer)  # of those that do not tell characters


class Inputs(NamedTuple):
    """What one evaluation is given: images of all passes, the finest grid, text and timestep."""

    batch_size: int
    latent_hw: SizeHW
    timestep: Tensor
    text: Tensor
    device: torch.device


class Projections(NamedTuple):
    """Queries and keys of a layer by head; of joint attention, the text has keys of its own."""

    q: Float[Tensor, "image head token channel"]
    k: Float[Tensor, "image head key channel"]
    k_text: Float[Tensor, "image head text channel"] | None


@runtime_checkable
class Network(Protocol):
    """A kind of network: where its attention to the text is, and its formula there.

    `layers` are all that have a processor, by its name.
    """

    layers: dict[str, nn.Module]

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
        self, layer: Any, made: Projections, rotary: Rotary | None, positions: ImagePositions
    ) -> HeadWeights:
        """Return one layer's attention to the keys at some positions."""
        ...

    def self_matrix(self, layer: Any, made: Projections) -> Weights:
        """Return one layer's self-attention with all pixels as columns, averaged over heads."""
        ...


class Projecting:
    """A layer as its processor sees it, keeping the projections that it makes.

    So they need not be made again, which is ten times the rest of the work.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer
        self.q: Any = None
        self.k: Any = None
        self.k_text: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    def to_q(self, hidden: Tensor) -> Tensor:
        """Project to queries."""
        self.q = self.layer.to_q(hidden)
        return self.q

    def to_k(self, hidden: Tensor) -> Tensor:
        """Project to keys."""
        self.k = self.layer.to_k(hidden)
        return self.k

    def add_k_proj(self, text: Tensor) -> Tensor:
        """Project the text of joint attention to keys."""
        self.k_text = self.layer.add_k_proj(text)
        return self.k_text

    def take(self, n_images: int, batch_size: int) -> Projections:
        """Return the projections of the last images of the batch, those that see the prompt.

        Raises `InputError` where the layer was not given the batch of the network.
        """
        if self.q is None or self.k is None:
            raise InputError("expected a layer that projects its queries and keys, got none")
        if len(self.q) != batch_size or len(self.k) != batch_size:
            raise InputError(
                f"expected layers to see the batch of {batch_size}, got {len(self.q)}:"
                " a cache that leaves out guidance cannot be captured; disable it"
            )
        k_text = None if self.k_text is None else heads_apart(self.k_text[-n_images:], self.heads)
        made = Projections(
            heads_apart(self.q[-n_images:], self.heads),
            heads_apart(self.k[-n_images:], self.heads),
            k_text,
        )
        self.q = self.k = self.k_text = None  # so that nothing large is kept alive
        return made


def attention_layers(module: Any) -> dict[str, nn.Module]:
    """Return all layers of a network that have a processor, by the processor's name."""
    names = module.attn_processors  # walks the whole network, so once
    return {name: module.get_submodule(name.removesuffix(".processor")) for name in names}


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
    """Return where a word stands for one of the pipeline's tokenizers.

    Raises `InputError` as `word_positions` does, and for a tokenizer whose sequence is unknown.
    """
    check_tokenizer(tokenizer)
    text, word = spelled(pipe, tokenizer, text), spelled(pipe, tokenizer, word)
    return word_positions(tokenizer, text, word, max_length)


def spelled(pipe: Any, tokenizer: Any, text: str) -> str:
    """Write a token of textual inversion that stands for several as the pipeline does."""
    if isinstance(pipe, TextualInversionLoaderMixin):
        (text,) = pipe.maybe_convert_prompt([text], tokenizer)
    return text


def check_tokenizer(tokenizer: Any) -> None:
    """Raise `InputError` for a tokenizer that pads on the left or that nothing is known of."""
    name = type(tokenizer).__name__
    if tokenizer.padding_side != "right":
        raise InputError(
            f"expected a tokenizer that pads on the right, got {name}, which pads on the"
            f" {tokenizer.padding_side}; use a model with CLIP or T5"
        )
    if not tokenizer.is_fast and not isinstance(tokenizer, KNOWN_TOKENIZERS):
        raise InputError(
            f"expected the tokenizer of CLIP or T5, got {name}; use a model with one of these"
        )
