"""Sana: layers that attend to the text of Gemma 2, and linear ones of pixels alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from diffumask.errors import InputError

from ..network import Inputs, cleaned
from ..running_means import Positions
from ..templates import Template
from .pixart import PixArtAttention


class SanaAttention(PixArtAttention):
    """As PixArt, but an instruction stands before the prompt, of which all but two tokens go.

    What the pipeline keeps of the text is its first token and as many of the last as make up the
    sequence, so that its one before the prompt is the last of the instruction.
    """

    def self_layers(self) -> dict[str, nn.Module]:
        """Return none: linear attention has no matrix."""
        return {}

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer, whose timesteps are scaled."""
        inputs = self.of_latents(args, kwargs)
        return inputs._replace(timestep=inputs.timestep / self.transformer.config.timestep_scale)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in what is kept of the text.

        Raises `InputError` also for a word that is joined to the instruction before it.
        """
        template, text = self._template(arguments), cleaned(self.pipe, text, arguments)
        n_gone = max(0, len(template.ids("")) - 2) if template.before else 0
        found = template.positions(text, word, n_gone + arguments["max_sequence_length"])
        if n_gone and found[0] <= n_gone:
            raise InputError(
                f"expected the word {word!r} in tokens of its own, got it joined to the"
                " instruction before it; end that with a space"
            )
        return tuple(position - n_gone for position in found)

    def given_ids(self, tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of the instruction and the cleaned text."""
        return self._template(arguments).ids(cleaned(self.pipe, text, arguments))

    def _template(self, arguments: Mapping[str, Any]) -> Template:
        instruction = "\n".join(arguments["complex_human_instruction"] or [])
        return Template(self.pipe.tokenizer, instruction, "")
