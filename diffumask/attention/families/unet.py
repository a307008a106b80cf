"""Cross-attention of the UNets of Stable Diffusion 1, 2 and XL."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnProcessor,
)
from torch import nn

from diffumask.errors import InputError

from ..kernel import Seen
from ..network import (
    HeadWeights,
    ImagePositions,
    Inputs,
    attention_layers,
    check_processor,
    plain_ids,
    text_positions,
)
from ..probabilities import word_attention
from ..reading import Reading
from ..running_means import Positions

KNOWN_PROCESSORS = (AttnProcessor, AttnProcessor2_0, SlicedAttnProcessor)
KNOWN_TEXT_PROJECTIONS = (None, "text_proj")  # others put images among the words
UNKNOWN_PARTS = ("norm_q", "norm_k", "norm_cross", "group_norm", "spatial_norm")


class UNetAttention:
    """Where a UNet of diffusers attends to the text, and how."""

    readings = (Reading(),)
    second_pass = prompt_first = pads_left = False

    def __init__(self, pipe: DiffusionPipeline, unet: UNet2DConditionModel) -> None:
        self.pipe: Any = pipe
        config: Any = unet.config
        projection = config.encoder_hid_dim_type  # what loaders set is an attribute, no item
        if projection not in KNOWN_TEXT_PROJECTIONS:
            raise InputError(
                f"expected a UNet that attends to text alone, got one with {projection};"
                " unload what set it, such as an IP-Adapter"
            )
        self.n_blocks = len(unet.down_blocks)
        self.layers = attention_layers(unet)

    def text_layers(self) -> dict[str, nn.Module]:
        """Return the cross-attention."""
        return {name: layer for name, layer in self.layers.items() if _crosses(layer)}

    def self_layers(self) -> dict[str, nn.Module]:
        """Return the self-attention of the transformer blocks; a fuser adds boxes to the pixels."""
        return {
            name: layer
            for name, layer in self.layers.items()
            if not _crosses(layer) and ".transformer_blocks." in name and ".fuser." not in name
        }

    def check(self, name: str, layer: Attention) -> None:
        """Raise `InputError` for processors and forms of attention that are not the plain one."""
        advice = "call pipe.unet.set_default_attn_processor() first"
        check_processor(name, layer.get_processor(), KNOWN_PROCESSORS, advice)
        unknown = [part for part in UNKNOWN_PARTS if getattr(layer, part) is not None]
        if unknown:
            raise InputError(f"expected plain attention at {name}, got one with {unknown}")

    def factor(self, name: str) -> int:
        """Return 2 to the depth of the layer's block: every block but the last halves the grid."""
        deepest = self.n_blocks - 1
        block, index, *_ = name.split(".")
        if block == "mid_block":
            return 2**deepest
        return 2 ** (int(index) if block == "down_blocks" else deepest - int(index))

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the UNet."""
        names = ("sample", "timestep", "encoder_hidden_states")
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        sample, timestep = given["sample"], torch.as_tensor(given["timestep"])
        h, w = sample.shape[-2:]
        text = given["encoder_hidden_states"]
        return Inputs(len(sample), (h, w), timestep, text, sample.device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for the text encoders; the two of SDXL see the same."""
        own = (getattr(self.pipe, name, None) for name in ("tokenizer", "tokenizer_2"))
        found = {text_positions(self.pipe, one, text, word) for one in own if one is not None}
        if len(found) != 1:
            raise InputError(
                f"expected text encoders for which {word!r} stands in one place, got {len(found)}"
                " places; capture another pipeline"
            )
        return found.pop()

    def given_ids(self, tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of the text with nothing around it."""
        return plain_ids(self.pipe, tokenizer, text)

    def word_attention(self, seen: Seen, positions: ImagePositions) -> HeadWeights:
        """Return the attention of all pixels to some positions of the text."""
        return word_attention(seen.q, seen.k, positions, seen.scale, seen.logsumexp)

    def pixels(self, seen: Seen) -> Seen:
        """Return the same: its self-attention is of pixels alone."""
        return seen


def _crosses(layer: nn.Module) -> bool:
    return isinstance(layer, Attention) and layer.is_cross_attention
