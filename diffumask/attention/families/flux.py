"""FLUX.1: blocks of two streams, then of one; the text stands before the pixels in all."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Num
from torch import Tensor

from diffumask.errors import InputError

from ..network import Inputs, text_positions
from ..reading import ATTENTION, OUTPUT, Reading, blocks
from ..running_means import Positions, SizeHW
from ..transformer import Transformer

DOUBLE = "transformer_blocks"
FIRST_SHARE = 15 / 19  # blocks 15 to 18 of the 19 of two streams


class FluxAttention(Transformer):
    """The text is the tokens of T5; a second prompt as guidance is an evaluation of its own."""

    text_first = True
    stream_blocks = DOUBLE
    second_pass = True
    source = "Helbling et al. 2025 (ConceptAttention)"

    def __init__(self, pipe: Any, transformer: Any) -> None:
        super().__init__(pipe, transformer)
        n_double = len(transformer.transformer_blocks)
        last = blocks(DOUBLE, int(FIRST_SHARE * n_double), n_double - 1)
        self.readings = (
            Reading(OUTPUT, last, source=self.source),
            Reading(ATTENTION, last, source=self.source),
        )

    def concept_arguments(self, given: dict[str, Any], n_concepts: int) -> dict[str, Any]:
        """Give all concepts the place of the first token; all text of FLUX.1 has the same."""
        rotary = given["image_rotary_emb"]
        places = [0] * n_concepts + [-1]
        return given | {"image_rotary_emb": tuple(one[places] for one in rotary)}

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer, whose timesteps are in [0, 1]."""
        tokens, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
        if self.latent_hw is None:  # once, as this waits for the device
            self.latent_hw = one_image_hw(kwargs["img_ids"])
        h, w = self.latent_hw
        if h * w != tokens.shape[1]:
            raise InputError(f"expected the {h} x {w} tokens of one image, got {tokens.shape[1]}")
        timestep = 1000 * kwargs["timestep"].float()
        return Inputs(len(tokens), self.latent_hw, timestep, text, tokens.device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for T5."""
        limit = arguments["max_sequence_length"]
        return text_positions(self.pipe, self.pipe.tokenizer_2, text, word, limit)


def one_image_hw(ids: Num[Tensor, "token axis"]) -> SizeHW:
    """Return the rows and columns of the pixels' ids. Raises `InputError` if not of one image.

    A transposed second image may give as many pixels as one of the larger sides would have.
    """
    h, w = (ids[:, 1:3].amax(dim=0) + 1).long().tolist()
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    expected = torch.zeros(h * w, ids.shape[1])
    expected[:, 1], expected[:, 2] = rows.flatten(), columns.flatten()
    if not torch.equal(expected.to(ids), ids):
        raise InputError(
            f"expected the pixels of one image of {h} x {w} tokens, got {len(ids)} otherwise:"
            " images as input cannot be captured"
        )
    return h, w
