"""Qwen-Image: blocks of two streams alone; the text stands before the pixels."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from diffumask.errors import InputError

from ..network import Inputs
from ..reading import ATTENTION, OUTPUT, Reading, blocks
from ..running_means import Positions
from ..templates import InChat, template_of
from ..transformer import Transformer

BLOCKS = "transformer_blocks"


class QwenImageAttention(InChat, Transformer):
    """The text is a chat with Qwen 2.5-VL without its first tokens and its padding.

    Guidance is an evaluation of its own. Which block localizes nobody has published: the middle
    third is taken.
    """

    text_first = True
    stream_blocks = BLOCKS
    second_pass = True

    def __init__(self, pipe: Any, transformer: Any) -> None:
        super().__init__(pipe, transformer)
        n_blocks = len(transformer.transformer_blocks)
        middle = blocks(BLOCKS, n_blocks // 3, 2 * n_blocks // 3)
        self.readings = tuple(
            Reading(space, middle, source="not measured") for space in (OUTPUT, ATTENTION)
        )
        self.template = template_of(pipe.tokenizer, pipe.prompt_template_encode.format)
        self.pads_left = pipe.tokenizer.padding_side == "left"

    def embed_concepts(
        self, embeddings: Float[Tensor, "image concept channel"]
    ) -> Float[Tensor, "image concept width"]:
        """Bring embeddings of the text encoder to the stream of the text."""
        return self.transformer.txt_in(self.transformer.txt_norm(embeddings))

    def concept_arguments(self, given: dict[str, Any], n_concepts: int) -> dict[str, Any]:
        """Give all concepts the place of the first token of a prompt, and mask none."""
        of_pixels, of_text = given["image_rotary_emb"]
        rotary = of_pixels[:1], of_text[[0] * n_concepts]
        return given | {"image_rotary_emb": rotary, "encoder_hidden_states_mask": None}

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer, whose timesteps are in [0, 1]."""
        tokens, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
        (frames, h, w), *others = kwargs["img_shapes"][0]
        if others or frames != 1 or h * w != tokens.shape[1]:
            raise InputError(
                f"expected the {h} x {w} tokens of one image, got {tokens.shape[1]}: images as"
                " input and layers cannot be captured"
            )
        self.latent_hw = h, w
        return Inputs(len(tokens), (h, w), 1000 * kwargs["timestep"].float(), text, tokens.device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in the chat after the tokens that are left out."""
        n_left_out = self.pipe.prompt_template_encode_start_idx
        limit = min(arguments["max_sequence_length"], self.pipe.tokenizer_max_length)
        found = self.template.positions(text, word, n_left_out + limit)
        return tuple(position - n_left_out for position in found)
