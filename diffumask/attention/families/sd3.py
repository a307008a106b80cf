"""Stable Diffusion 3 and 3.5: joint blocks, of 3.5-medium some with attention of pixels alone."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from diffumask.errors import InputError

from ..network import Inputs, text_positions
from ..reading import ATTENTION, OUTPUT, Reading, blocks
from ..running_means import Positions
from ..transformer import Transformer

BLOCKS = "transformer_blocks"
EXPERT_SHARE = 9 / 24  # block 9 of the 24 of Stable Diffusion 3


class SD3Attention(Transformer):
    """The keys of the text, CLIP's tokens and then T5's, stand behind those of the pixels.

    The block that localizes is the 9th of Stable Diffusion 3 (Kim et al. 2025, Seg4Diff); of
    other sizes the one at the same share of the depth is taken, which nobody has published.
    """

    stream_blocks = BLOCKS

    def __init__(self, pipe: Any, transformer: Any) -> None:
        super().__init__(pipe, transformer)
        n_blocks = len(transformer.transformer_blocks)
        expert = blocks(BLOCKS, *[round(EXPERT_SHARE * n_blocks)] * 2)
        source = "Kim et al. 2025 (Seg4Diff), of Stable Diffusion 3"
        self.readings = (
            Reading(ATTENTION, expert, source=source),
            Reading(OUTPUT, blocks(BLOCKS, n_blocks // 2, n_blocks - 2), source="not published"),
        )

    def text_layers(self) -> dict[str, nn.Module]:
        """Return the joint layers."""
        every: dict[str, Any] = self.layers
        return {name: one for name, one in every.items() if one.added_kv_proj_dim is not None}

    def self_layers(self) -> dict[str, nn.Module]:
        """Return those of pixels alone where there are any, else the joint ones."""
        joint = self.text_layers()
        return {name: one for name, one in self.layers.items() if name not in joint} or joint

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer."""
        return self.of_latents(args, kwargs)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for CLIP, or for T5 where CLIP does not see all of it.

        Seg4Diff reads the tokens of CLIP alone.
        """
        try:
            return text_positions(self.pipe, self.pipe.tokenizer, text, word)
        except InputError:
            if self.pipe.text_encoder_3 is None:
                raise
        limit = arguments["max_sequence_length"]
        of_t5 = text_positions(self.pipe, self.pipe.tokenizer_3, text, word, limit)
        return tuple(self.pipe.tokenizer_max_length + position for position in of_t5)
