"""Kolors: the UNet of Stable Diffusion XL with ChatGLM, whose text stands at the end of its row."""

from collections.abc import Mapping
from typing import Any

from ..running_means import Positions
from ..tokens import word_positions
from .unet import UNetAttention


class KolorsAttention(UNetAttention):
    """Two tokens stand before the text, and padding before these; all take part in attention."""

    pads_left = True

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for ChatGLM."""
        tokenizer, limit = self.pipe.tokenizer, arguments["max_sequence_length"]
        found = word_positions(tokenizer, text, word, limit)
        n_padded = max(0, limit - len(self.given_ids(tokenizer, text, arguments)))
        return tuple(n_padded + position for position in found)
