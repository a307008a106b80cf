"""FLUX.2: blocks of two streams, then of one with fused projections; the text stands first."""

from collections.abc import Mapping
from typing import Any

from diffusers.pipelines.flux2.pipeline_flux2 import format_input

from ..network import Inputs
from ..reading import ATTENTION, OUTPUT, Reading, blocks
from ..running_means import Positions
from ..templates import InChat, Template, chat_template, template_of
from .flux import DOUBLE, FluxAttention

FIRST_SHARE = 5 / 8  # blocks 5 to 7 of the 8 of two streams of FLUX.2 dev
LAST_STEPS = (0.7, 1.0)


class Flux2Attention(InChat, FluxAttention):
    """The text is a chat: with Mistral of dev, padded on the left, with Qwen 3 of klein.

    Padding takes part in the attention. The choice of blocks and steps is the default of the code
    of ConceptAttention for dev; of klein the blocks at the same share of the depth are taken.
    """

    def __init__(self, pipe: Any, transformer: Any) -> None:
        super().__init__(pipe, transformer)
        n_double = len(transformer.transformer_blocks)
        last = blocks(DOUBLE, round(FIRST_SHARE * n_double), n_double - 1)
        source = "code of Helbling et al. (ConceptAttention), of FLUX.2 dev"
        self.readings = (
            Reading(OUTPUT, last, LAST_STEPS, source),
            Reading(ATTENTION, last, LAST_STEPS, "not published"),
        )
        self.template = _template(pipe)
        self.pads_left = self.template.tokenizer.padding_side == "left"

    def concept_arguments(self, given: dict[str, Any], n_concepts: int) -> dict[str, Any]:
        """Give all concepts the place of the first token of a prompt, or of its last.

        Of the last where it stands at the end of its row, as Helbling et al. do: both are places
        at which each concept was encoded.
        """
        rotary, (n_before, n_after) = given["image_rotary_emb"], self.template.n_around()
        assert self.latent_hw is not None
        n_text = len(rotary[0]) - self.latent_hw[0] * self.latent_hw[1]
        place = n_text - 1 - n_after if self.pads_left else n_before
        places = [place] * n_concepts + [-1]
        return given | {"image_rotary_emb": tuple(one[places] for one in rotary)}

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer; all images have the ids of the first."""
        return super().inputs(args, {**kwargs, "img_ids": kwargs["img_ids"][0]})

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in the row of the chat."""
        limit = arguments["max_sequence_length"]
        found = self.template.positions(text, word, limit)
        n_padded = max(0, limit - len(self.template.ids(text))) if self.pads_left else 0
        return tuple(n_padded + position for position in found)


def _template(pipe: Any) -> Template:
    """Return the chat of klein's tokenizer, or that of dev's processor, which holds one."""
    system = getattr(pipe, "system_message", None)
    if system is None:
        return chat_template(pipe.tokenizer, enable_thinking=False)

    def write(text: str) -> str:
        (messages,) = format_input([text], system)
        return pipe.tokenizer.apply_chat_template(messages, tokenize=False)

    tokenizer = pipe.tokenizer.tokenizer
    starts = tokenizer.bos_token is not None and write("").startswith(tokenizer.bos_token)
    return template_of(tokenizer, write, adds_special=not starts)
