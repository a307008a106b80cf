"""Where transformers of diffusers attend to the text, and how.

In joint attention pixels attend to text and pixels in one softmax, so the text alone does not give
its denominator. The fused kernel does: its values are unit vectors, one per wanted position of the
text. The same serves for attention to the text alone, and all this where the pixels' own call does
not tell the denominator.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float, Float32
from torch import Tensor, nn

from diffumask.errors import InputError

from .kernel import Seen
from .network import HeadWeights, ImagePositions, Inputs, attention_layers, plain_ids
from .probabilities import attend, word_attention
from .reading import Reading
from .running_means import Positions, SizeHW


class Transformer:
    """What all transformers have in common; a family says what is its own.

    `text_first`: whether the keys of the text stand before those of the pixels. `has_pixel_keys`
    is false of layers that attend to the text alone. `stream_blocks` names the blocks with a stream
    of the text.
    """

    readings: tuple[Reading, ...] = (Reading(),)
    second_pass = prompt_first = pads_left = False
    text_first = False
    has_pixel_keys = True
    stream_blocks: str | None = None
    unbatched: tuple[str, ...] = ("image_rotary_emb",)  # arguments of a block, one for all images

    def __init__(self, pipe: DiffusionPipeline, transformer: Any) -> None:
        self.pipe: Any = pipe
        self.transformer = transformer
        self.layers = attention_layers(transformer)
        self.latent_hw: SizeHW | None = None

    def text_layers(self) -> dict[str, nn.Module]:
        """Return the layers where pixels attend to the text."""
        return dict(self.layers)

    def self_layers(self) -> dict[str, nn.Module]:
        """Return the same layers, where pixels attend to pixels too."""
        return self.text_layers()

    def check(self, name: str, layer: Any) -> None:
        """Accept each layer: what its kernel is given is looked at when it is called."""

    def factor(self, name: str) -> int:
        """Return 1: all layers have the same grid."""
        return 1

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of one evaluation."""
        raise NotImplementedError

    def of_latents(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Read the arguments of a transformer that cuts its latents into patches itself."""
        given = dict(zip(("hidden_states",), args, strict=False)) | dict(kwargs)
        latents, patch = given["hidden_states"], self.transformer.config.patch_size
        self.latent_hw = latents.shape[-2] // patch, latents.shape[-1] // patch
        text = given["encoder_hidden_states"]
        return Inputs(len(latents), self.latent_hw, given["timestep"], text, latents.device)

    def positions(self, text: str, word: str, arguments: Mapping[str, Any]) -> Positions:
        """Return where a word stands in the text."""
        raise NotImplementedError

    def given_ids(self, tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of the text with nothing around it."""
        return plain_ids(self.pipe, tokenizer, text)

    def word_attention(self, seen: Seen, positions: ImagePositions) -> HeadWeights:
        """Return the attention of all pixels to some positions of the text."""
        pixels, text_start = self._places(seen)
        q, logsumexp = seen.q[:, :, pixels], seen.logsumexp
        if logsumexp is not None:
            among_all = logsumexp[:, :, pixels]
            return word_attention(q, seen.k, text_start + positions, seen.scale, among_all)
        mask = seen.mask
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., pixels, :]
        values = unit_values(text_start + positions, seen.k.shape[2])
        return attend(q, seen.k, values, seen.scale, mask)

    def pixels(self, seen: Seen) -> Seen:
        """Return what a layer sees of the pixels alone."""
        pixels, _ = self._places(seen)
        q, k, v, out = (
            None if one is None else one[:, :, pixels] for one in (seen.q, seen.k, seen.v, seen.out)
        )
        return Seen(cast(Tensor, q), cast(Tensor, k), seen.scale, None, v, out)

    def streams(self) -> list[tuple[nn.Module, str]]:
        """Return the blocks with a stream of the text, each with the name of its joint layer."""
        if self.stream_blocks is None:
            return []
        every = enumerate(getattr(self.transformer, self.stream_blocks))
        return [(block, f"{self.stream_blocks}.{i}.attn.processor") for i, block in every]

    def embed_concepts(
        self, embeddings: Float[Tensor, "image concept channel"]
    ) -> Float[Tensor, "image concept width"]:
        """Bring embeddings of the text encoder to the stream of the text."""
        return self.transformer.context_embedder(embeddings)

    def concept_arguments(self, given: dict[str, Any], n_concepts: int) -> dict[str, Any]:
        """Return the arguments of a block for so many concepts as its text, and one pixel."""
        return given

    def text_of(self, made: Any) -> Tensor | None:
        """Return the text of what a block gives; the last of some networks gives none."""
        return made[0]

    def _places(self, seen: Seen) -> tuple[slice, int]:
        """Return where the pixels stand among the queries, and the text among the keys.

        Raises `InputError` for fewer queries than there are pixels.
        """
        assert self.latent_hw is not None
        n_pixels, n_queries = self.latent_hw[0] * self.latent_hw[1], seen.q.shape[2]
        if n_queries < n_pixels:
            raise InputError(
                f"expected {n_pixels} pixels in a layer, got {n_queries}: layers that merge"
                " pixels cannot be captured"
            )
        if self.text_first or not self.has_pixel_keys:
            return slice(n_queries - n_pixels, n_queries), 0
        return slice(0, n_pixels), n_pixels


def unit_values(positions: ImagePositions, n_keys: int) -> Float32[Tensor, "image key column"]:
    """Return values of which attention fetches exactly its weight at each position."""
    zeros = torch.zeros(len(positions), n_keys, positions.shape[1], device=positions.device)
    return zeros.scatter_(1, positions[:, None], 1.0)
