"""Chroma: the blocks of FLUX.1, under a mask of the text, with guidance by a negative prompt."""

from collections.abc import Mapping
from typing import Any

from ..network import text_positions
from ..running_means import Positions
from .flux import FluxAttention


class ChromaAttention(FluxAttention):
    """The text is the tokens of T5, which is the only text encoder.

    Its mask is added to what the softmax takes: the padding has 1 less, and is not left out.
    """

    source = "Helbling et al. 2025 (ConceptAttention), of FLUX.1; not measured"

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for T5."""
        limit = arguments["max_sequence_length"]
        return text_positions(self.pipe, self.pipe.tokenizer, text, word, limit)
