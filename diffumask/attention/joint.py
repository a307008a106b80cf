"""Attention to the text within the joint attention of Stable Diffusion 3 and Flux.

Pixels attend to text and pixels in one softmax, so the text alone does not give its denominator.
The fused kernel does: its values are unit vectors, one per wanted position of the text.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import JointAttnProcessor2_0
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from jaxtyping import Float, Float32
from torch import Tensor, nn

from diffumask.errors import InputError

from .network import (
    HeadWeights,
    ImagePositions,
    Inputs,
    Projections,
    Rotary,
    Weights,
    attention_layers,
    check_processor,
    text_positions,
)
from .probabilities import attend
from .running_means import Positions, SizeHW


class JointAttention:
    """What the two kinds have in common."""

    known_processor: type

    def __init__(self, pipe: DiffusionPipeline, transformer: Any) -> None:
        self.pipe: Any = pipe
        self.patch_size: int = transformer.config.patch_size
        self.layers = attention_layers(transformer)

    def text_layers(self) -> dict[str, nn.Module]:
        """Return the layers where pixels attend to text and pixels alike."""
        return {name: layer for name, layer in self.layers.items() if self._is_joint(layer)}

    def _is_joint(self, layer: Any) -> bool:
        return layer.added_kv_proj_dim is not None

    def self_layers(self) -> dict[str, nn.Module]:
        """Return none: no layer is of pixels alone."""
        return {}

    def check(self, name: str, layer: Any) -> None:
        """Raise `InputError` for processors and forms of attention that are not the plain one."""
        advice = "remove what set it, such as an IP-Adapter"
        check_processor(name, layer.processor, (self.known_processor,), advice)
        if layer.fused_projections:
            raise InputError(f"expected projections apart at {name}, got fused; unfuse them")

    def factor(self, name: str) -> int:
        """Return 1: all layers have the same grid."""
        return 1

    def self_matrix(self, layer: Any, made: Projections) -> Weights:
        """Refuse, see `self_layers`."""
        raise NotImplementedError


class SD3Attention(JointAttention):
    """Where the transformer of Stable Diffusion 3 attends to the text, and how.

    Its text is the tokens of CLIP followed by those of T5: a word stands in both.
    """

    known_processor = JointAttnProcessor2_0

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer."""
        latents, patch = kwargs["hidden_states"], self.patch_size
        h, w = latents.shape[-2] // patch, latents.shape[-1] // patch
        text = kwargs["encoder_hidden_states"]
        return Inputs(len(latents), (h, w), kwargs["timestep"], text, latents.device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for CLIP, and for T5 where the pipeline has it."""
        of_clip = text_positions(self.pipe, self.pipe.tokenizer, text, word)
        if self.pipe.text_encoder_3 is None:
            return of_clip
        limit = arguments["max_sequence_length"]
        of_t5 = text_positions(self.pipe, self.pipe.tokenizer_3, text, word, limit)
        return of_clip + tuple(self.pipe.tokenizer_max_length + position for position in of_t5)

    def word_attention(
        self, layer: Any, made: Projections, rotary: Rotary | None, positions: ImagePositions
    ) -> HeadWeights:
        """Return the attention of all pixels to some positions of the text."""
        assert made.k_text is not None
        q, k = _normed(layer.norm_q, made.q), _normed(layer.norm_k, made.k)
        keys = torch.cat([_normed(layer.norm_added_k, made.k_text), k], dim=2)
        return attend(q, keys, unit_values(positions, keys.shape[2]), layer.scale)


class FluxAttention(JointAttention):
    """Where the transformer of Flux attends to the text, and how.

    Its text is the tokens of T5, which stand before the pixels in the layers of a single stream.
    """

    known_processor = FluxAttnProcessor
    latent_hw: SizeHW | None = None

    def _is_joint(self, layer: Any) -> bool:
        return True

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of the transformer, whose timesteps are in [0, 1]."""
        tokens, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
        if self.latent_hw is None:  # once, as this waits for the device
            self.latent_hw = _one_image(kwargs["img_ids"])
        h, w = self.latent_hw
        if h * w != tokens.shape[1]:
            raise InputError(f"expected the {h} x {w} tokens of one image, got {tokens.shape[1]}")
        timestep = 1000 * kwargs["timestep"].float()
        return Inputs(len(tokens), self.latent_hw, timestep, text, tokens.device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands for T5."""
        limit = arguments["max_sequence_length"]
        return text_positions(self.pipe, self.pipe.tokenizer_2, text, word, limit)

    def word_attention(
        self, layer: Any, made: Projections, rotary: Rotary | None, positions: ImagePositions
    ) -> HeadWeights:
        """Return the attention of all pixels to some positions of the text."""
        assert self.latent_hw is not None
        n_pixels = self.latent_hw[0] * self.latent_hw[1]
        q, k = layer.norm_q(made.q[:, :, -n_pixels:]), layer.norm_k(made.k)
        if made.k_text is not None:
            k = torch.cat([layer.norm_added_k(made.k_text), k], dim=2)
        if rotary is not None:
            cos, sin = rotary
            q = _rotated(q, (cos[-n_pixels:], sin[-n_pixels:]))
            k = _rotated(k, (cos, sin))
        return attend(q, k, unit_values(positions, k.shape[2]), layer.head_dim**-0.5)


def _one_image(ids: Float[Tensor, "token 3"]) -> SizeHW:
    """Return the rows and columns of the pixels' ids. Raises `InputError` if not of one image.

    A transposed second image may give as many pixels as one of the larger sides would have.
    """
    h, w = (ids[:, 1:].amax(dim=0) + 1).long().tolist()
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    expected = torch.stack([torch.zeros(h, w), rows, columns], dim=-1).flatten(0, 1)
    if not torch.equal(expected.to(ids), ids):
        raise InputError(
            f"expected the pixels of one image of {h} x {w} tokens, got {len(ids)} otherwise:"
            " images as input cannot be captured"
        )
    return h, w


def _rotated(x: Tensor, rotary: Any) -> Tensor:
    return cast(Tensor, apply_rotary_emb(x, rotary))


def _normed(norm: nn.Module | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


def unit_values(positions: ImagePositions, n_keys: int) -> Float32[Tensor, "image key column"]:
    """Return values of which attention fetches exactly its weight at each position."""
    zeros = torch.zeros(len(positions), n_keys, positions.shape[1], device=positions.device)
    return zeros.scatter_(1, positions[:, None], 1.0)
