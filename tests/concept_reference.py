"""The slow twin of concepts that ride the stream of the text of blocks of two streams."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from joint_reference import N_T5
from slow_reference import BIRD, PLANE, run
from torch import Tensor

from diffumask.attention.capture import capture

TWO = [BIRD, PLANE]
WANTED = [["bird"], ["potted plant", "aeroplane"]]
BACKGROUND = ("grass", "snow on sand")

# What a block is given, the concepts and the row of an image, to maps and concepts after it.
Block = Callable[[dict[str, Any], Tensor, int], tuple[Tensor, Tensor | None]]


@contextmanager
def blocks_seen(transformer: Any) -> Iterator[list[dict[str, Any]]]:
    """Keep what each block of two streams is given."""
    seen: list[dict[str, Any]] = []

    def see(block: Any, args: Any, kwargs: Any) -> None:
        assert not args
        seen.append({"block": block, **kwargs})

    hooks = [
        block.register_forward_pre_hook(see, with_kwargs=True)
        for block in transformer.transformer_blocks
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def heads(x: Tensor, layer: Any) -> Tensor:
    return x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


def shares(of_concepts: Tensor, of_pixels: Tensor) -> Tensor:
    """Return the softmax over the concepts of the inner products of outputs, of one image."""
    return torch.einsum("bhcd,bhpd->bcp", of_concepts, of_pixels).softmax(1)[0]


@torch.no_grad()
def expected_maps(
    seen: list[dict[str, Any]],
    n_blocks: int,
    read: set[int],
    embed: Callable[[str], Tensor],
    concept_maps: Block,
) -> list[dict[str, Tensor]]:
    """Return the mean over steps and blocks of the map of each word, for each image."""
    found = []
    for image, words in enumerate(WANTED):
        concepts = [*words, *(one for one in BACKGROUND if one not in words)]
        maps = []
        for first in range(0, len(seen), len(seen) // 2):  # a pass of guidance may follow
            hidden: Any = torch.stack([embed(one) for one in concepts])[None]
            for i in range(n_blocks):
                of_block, hidden = concept_maps(seen[first + i], hidden, image - len(WANTED))
                if i in read:
                    maps.append(of_block)
        mean = torch.stack(maps).mean(0)
        found.append(dict(zip(words, mean, strict=False)))
    return found


def check(
    pipe: Any,
    read: set[int],
    embed: Callable[[str], Tensor],
    concept_maps: Block,
    **options: Any,
) -> None:
    """Compare the maps of some blocks; `embed` gives a concept as the first block takes it."""
    n_blocks = len(pipe.transformer.transformer_blocks)
    options = {"max_sequence_length": N_T5} | options
    with blocks_seen(pipe.transformer) as seen:
        plain = run(pipe, TWO, 2, **options)
    names = {f"transformer_blocks.{i}.attn.processor" for i in read}
    everything = {"space": "output", "layers": names.__contains__, "steps": (0.0, 1.0)}
    with capture(pipe, WANTED, **everything, background=BACKGROUND) as attention:
        captured = run(pipe, TWO, 2, **options)
    assert np.array_equal(plain, captured)
    for image, words in enumerate(expected_maps(seen, n_blocks, read, embed, concept_maps)):
        assert words
        for word, expected in words.items():
            got = attention.maps[4, 3][image, list(attention.columns(image, word))].flatten()
            assert (got - expected).abs().max() < 1e-5
            assert (got - expected.roll(1)).abs().max() > 1e-5
