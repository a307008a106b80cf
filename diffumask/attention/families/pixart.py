"""PixArt-alpha and -Sigma: layers that attend to the text of T5, and layers of pixels alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..network import Inputs, cleaned, plain_ids, text_positions
from ..reading import Reading
from ..running_means import Positions
from ..transformer import Transformer


class PixArtAttention(Transformer):
    """Each block attends to the pixels, then to the text, of which a mask leaves out the padding.

    The pipeline cleans its captions, so words are looked for in what it makes of the prompt.
    """

    readings = (Reading(source="not measured"),)
    has_pixel_keys = False

    def text_layers(self) -> dict[str, nn.Module]:
        """Return the cross-attention."""
        every: dict[str, Any] = self.layers
        return {name: one for name, one in every.items() if one.is_cross_attention}

    def self_layers(self) -> dict[str, nn.Module]:
        """Return the layers of pixels alone."""
        of_text = self.text_layers()
        return {name: one for name, one in self.layers.items() if name not in of_text}

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer."""
        return self.of_latents(args, kwargs)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for T5."""
        limit, text = arguments["max_sequence_length"], cleaned(self.pipe, text, arguments)
        return text_positions(self.pipe, self.pipe.tokenizer, text, word, limit)

    def given_ids(self, tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of the cleaned text with nothing around it."""
        return plain_ids(self.pipe, tokenizer, cleaned(self.pipe, text, arguments))
