"""Z-Image: blocks of one stream, where the text stands behind the pixels."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from diffumask.errors import InputError

from ..kernel import Seen
from ..network import Inputs
from ..reading import ATTENTION, Reading, blocks
from ..running_means import Positions
from ..templates import InChat, chat_template
from ..transformer import Transformer

BLOCKS = "layers"
MULTIPLE = 32  # pixels and text are padded to a multiple of this many tokens


class ZImageAttention(InChat, Transformer):
    """The text is a chat with Qwen 3 without its padding, so each image may have another length.

    Blocks before refine the pixels and the text alone. Which block localizes nobody has published:
    the middle third is taken.
    """

    prompt_first = True

    def __init__(self, pipe: Any, transformer: Any) -> None:
        super().__init__(pipe, transformer)
        n_blocks = len(transformer.layers)
        middle = blocks(BLOCKS, n_blocks // 3, 2 * n_blocks // 3)
        self.readings = (Reading(ATTENTION, middle, source="not measured"),)
        self.template = chat_template(pipe.tokenizer, enable_thinking=True)
        self.pads_left = pipe.tokenizer.padding_side == "left"

    def text_layers(self) -> dict[str, nn.Module]:
        """Return those of pixels and text together."""
        return {name: one for name, one in self.layers.items() if name.startswith(f"{BLOCKS}.")}

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer: a list of images, of which 0 is the noise."""
        names = ("x", "t", "cap_feats")
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        images, text = given["x"], given["cap_feats"]
        if isinstance(images[0], list):
            raise InputError(
                "expected one image each, got several: images as input cannot be captured"
            )
        patch = given.get("patch_size", 2)
        self.latent_hw = images[0].shape[-2] // patch, images[0].shape[-1] // patch
        timestep = 1000 * (1 - given["t"].float())
        return Inputs(len(images), self.latent_hw, timestep, text, images[0].device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in the chat."""
        return self.template.positions(text, word, arguments["max_sequence_length"])

    def _places(self, seen: Seen) -> tuple[slice, int]:
        pixels, n_pixels = super()._places(seen)
        return pixels, -(-n_pixels // MULTIPLE) * MULTIPLE
