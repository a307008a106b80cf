"""Ovis-Image: the blocks of FLUX.1, with what a chat says after its first tokens as the text."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..reading import ATTENTION, OUTPUT, Reading, blocks
from ..running_means import Positions
from ..templates import InChat, chat_template
from .flux import DOUBLE, FluxAttention


class OvisImageAttention(InChat, FluxAttention):
    """Padding takes part in the attention. Nobody has published which block localizes.

    The last half of the blocks of two streams is taken.
    """

    def __init__(self, pipe: Any, transformer: Any) -> None:
        super().__init__(pipe, transformer)
        n_double = len(transformer.transformer_blocks)
        last = blocks(DOUBLE, n_double // 2, n_double - 1)
        self.readings = tuple(
            Reading(space, last, source="not measured") for space in (OUTPUT, ATTENTION)
        )
        chat = chat_template(pipe.tokenizer, enable_thinking=False)
        self.template = replace(chat, before=chat.before + pipe.system_prompt, adds_special=False)
        self.pads_left = pipe.tokenizer.padding_side == "left"

    def embed_concepts(
        self, embeddings: Float[Tensor, "image concept channel"]
    ) -> Float[Tensor, "image concept width"]:
        """Bring embeddings of the text encoder to the stream of the text."""
        normed = self.transformer.context_embedder_norm(embeddings)
        return self.transformer.context_embedder(normed)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in the chat after the tokens that are left out."""
        n_left_out = self.pipe.user_prompt_begin_id
        limit = n_left_out + arguments["max_sequence_length"]
        found = self.template.positions(text, word, limit)
        n_padded = max(0, limit - len(self.template.ids(text))) if self.pads_left else 0
        return tuple(n_padded + position - n_left_out for position in found)
