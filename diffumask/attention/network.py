"""What the capture must know of a kind of denoising network."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from transformers import CLIPTokenizer, T5Tokenizer

from diffumask.errors import InputError

from .kernel import Seen
from .reading import Reading
from .running_means import Positions, SizeHW
from .tokens import word_positions

ImagePositions = Int64[Tensor, "image column"]
HeadWeights = Float32[Tensor, "image head pixel column"]
KNOWN_TOKENIZERS = (CLIPTokenizer, T5Tokenizer)  # of those that do not tell characters


class Inputs(NamedTuple):
    """What one evaluation is given: images of all passes, the finest grid, text and timestep.

    The text has a row for each image, in a tensor or, where lengths differ, one by one.
    """

    batch_size: int
    latent_hw: SizeHW
    timestep: Tensor
    text: Sequence[Tensor] | Tensor
    device: torch.device


@runtime_checkable
class Network(Protocol):
    """A kind of network: where its attention to the text is, and its formula there.

    `layers` are all that have a processor, by its name. The first of the `readings` is how it is
    read unless the caller says otherwise. With `second_pass` guidance may be an evaluation of its
    own after that with the prompt; with `prompt_first` the half of the batch with the prompt
    stands first; with `pads_left` the text encoder's text stands at the end of its row.
    """

    layers: dict[str, nn.Module]
    readings: Sequence[Reading]
    second_pass: bool
    prompt_first: bool
    pads_left: bool

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

    def given_ids(self, tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids that a text encoder is given of a text, without padding."""
        ...

    def word_attention(self, seen: Seen, positions: ImagePositions) -> HeadWeights:
        """Return one layer's attention of all pixels to the text at some positions."""
        ...

    def pixels(self, seen: Seen) -> Seen:
        """Return what a layer sees of the pixels alone."""
        ...


def attention_layers(module: Any) -> dict[str, nn.Module]:
    """Return all layers of a network that have a processor, by the processor's name."""
    parts = module.named_modules()  # not all networks tell their `attn_processors`
    return {f"{name}.processor": part for name, part in parts if hasattr(part, "set_processor")}


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


def plain_ids(pipe: Any, tokenizer: Any, text: str) -> Sequence[int]:
    """Return the ids of a text with nothing around it."""
    return tokenizer(spelled(pipe, tokenizer, text), verbose=False)["input_ids"]


def cleaned(pipe: Any, text: str, arguments: Mapping[str, Any]) -> str:
    """Write a text as pipelines do that clean captions, in lower case at least."""
    (text,) = pipe._text_preprocessing([text], clean_caption=arguments["clean_caption"])
    return text


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
