"""Concepts that ride the text stream of joint blocks without the picture taking notice.

Helbling et al. 2025 (ConceptAttention): a concept goes through the blocks as the text does, attends
to the concepts and to the pixels, and nothing attends to it. Here each block is called once more,
with the concepts as its text and one pixel in place of all; the keys and values of the pixels are
those of the first call. So the block's own code computes it, whatever the family.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree

from diffumask.errors import InputError

from .kernel import KernelCalls, Seen
from .probabilities import autocast_off
from .readers import Evaluation, Reader


class ConceptReader(Reader):
    """Adds how alike the outputs of each pixel and of the concepts are, of one layer."""

    def add_outputs(
        self,
        concepts: Float[Tensor, "image head concept channel"],
        pixels: Float[Tensor, "image head pixel channel"],
        is_concept: Bool[Tensor, "image concept"],
    ) -> None:
        """Add the softmax over the concepts of their inner products with each pixel."""
        with autocast_off(pixels.device):
            products = torch.einsum("bhcd,bhpd->bcp", concepts.float(), pixels.float())
            shares = products.masked_fill(~is_concept[..., None], -torch.inf).softmax(dim=1)
        self._add(self._on_grid(shares[:, : self.total.shape[1]]))

    def add(self, seen: Seen) -> None:
        """Leave the queries and keys alone."""


class ConceptStream:
    """The concepts of all images, at the block where they are."""

    def __init__(
        self,
        evaluation: Evaluation,
        network: Any,
        readers: Mapping[str, ConceptReader],
        streams: Sequence[tuple[nn.Module, str]],
    ) -> None:
        self.evaluation = evaluation
        self.network = network
        self.readers = readers
        self.streams = streams
        self.embeddings = self.hidden = torch.empty(0)
        self.is_concept = torch.empty(0, dtype=torch.bool)
        self._pixels: Seen | None = None
        self._replaying = self._has_gaps = False
        self._out: Tensor | None = None

    @property
    def is_replaying(self) -> bool:
        """Whether the block runs again, for the concepts."""
        return self._replaying

    def tell(
        self, rows: Sequence[Sequence[int]], embeddings: Float[Tensor, "concept channel"]
    ) -> None:
        """Take the embeddings of all concepts, and which of them each image has."""
        n_concepts = max(map(len, rows))
        padded = torch.tensor([[*row, *[0] * (n_concepts - len(row))] for row in rows])
        self.embeddings = embeddings[padded.to(embeddings.device)]
        counts = torch.tensor([len(row) for row in rows])
        self.is_concept = torch.arange(n_concepts) < counts[:, None]
        self._has_gaps = len(set(counts.tolist())) > 1

    def start(self, text: Tensor) -> None:
        """Begin an evaluation of the network, which is given text like this."""
        self.is_concept = self.is_concept.to(text.device)
        self.hidden = self.network.embed_concepts(self.embeddings.to(text))

    def keep(self, seen: Seen) -> None:
        """Take what the pixels have in the layer that ran."""
        self._pixels = self.network.pixels(seen)

    def advance(self, block: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Bring the concepts through a block that has run, and read them at its layer."""
        pixels, self._pixels = self._pixels, None
        if pixels is None:  # an evaluation without the prompt
            return
        assert pixels.out is not None
        self._replaying, self._pixels = True, pixels
        try:
            made = block.forward(**self._arguments(block, args, kwargs))
        finally:
            self._replaying, self._pixels = False, None
        text = self.network.text_of(made)
        out, self._out = self._out, None
        if out is None:
            raise InputError(f"expected attention in the block of {name}, got none")
        if name in self.readers:
            self.readers[name].add_outputs(out, pixels.out, self.is_concept)
        if text is not None:
            self.hidden = text

    def attend(self, processor: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Call the layer's processor so that concepts attend to concepts and all pixels."""
        with KernelCalls(self._kernel):
            return processor(*args, **kwargs)

    def _arguments(self, block: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a block for its images with the prompt, and for the concepts."""
        now, n_images = self.evaluation, len(self.evaluation.positions)
        given = dict(inspect.signature(block.forward).bind(*args, **kwargs).arguments)

        def of_prompt(value: Any) -> Any:
            is_batch = isinstance(value, Tensor) and value.dim() and len(value) == now.batch_size
            return value[now.rows] if is_batch and now.batch_size != n_images else value

        kept = {name: given.pop(name) for name in self.network.unbatched if name in given}
        given = {name: _pytree.tree_map(of_prompt, value) for name, value in given.items()} | kept
        given["hidden_states"] = given["hidden_states"][:, :1]
        given["encoder_hidden_states"] = self.hidden
        return self.network.concept_arguments(given, self.hidden.shape[1])

    def _kernel(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> tuple[Tensor, None]:
        """Put the pixels of the first call in the place of the one pixel; leave the mask out."""
        pixels, n_concepts = self._pixels, self.hidden.shape[1]
        assert pixels is not None
        assert pixels.v is not None
        if query.shape[2] != n_concepts + 1:  # attention of pixels alone
            return functional.scaled_dot_product_attention(query, key, value, scale=scale), None
        own = slice(0, n_concepts) if self.network.text_first else slice(1, n_concepts + 1)
        keys = torch.cat([key[:, :, own], pixels.k], dim=2)
        values = torch.cat([value[:, :, own], pixels.v], dim=2)
        mask = None
        if self._has_gaps:
            mask = functional.pad(self.is_concept, (0, pixels.k.shape[2]), value=True)
            mask = mask[:, None, None]
        out = functional.scaled_dot_product_attention(query, keys, values, mask, scale=scale)
        self._out = out[:, :, own]
        return out, None


@contextmanager
def riding(stream: ConceptStream) -> Iterator[None]:
    """Let the concepts follow the text through the blocks."""

    def after(name: str) -> Callable[..., None]:
        def see(block: nn.Module, args: Any, kwargs: Mapping[str, Any], _: Any) -> None:
            with torch.no_grad():
                stream.advance(block, name, args, kwargs)

        return see

    with ExitStack() as hooks:
        for block, name in stream.streams:
            hook = block.register_forward_hook(after(name), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


def mean_embeddings(
    encoded: Sequence[Tensor] | Tensor, positions: Sequence[Sequence[int]]
) -> Float32[Tensor, "concept channel"]:
    """Return the mean embedding of the tokens of each concept.

    Helbling et al. take the first token alone, which of "potted plant" is "pot".
    """
    pairs = zip(encoded, positions, strict=True)
    return torch.stack([one[list(where)].float().mean(dim=0) for one, where in pairs])
