"""The slow twin of attention that transformers share between text and pixels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from slow_reference import run
from torch import Tensor
from torch.nn import functional

from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.running_means import Attention

N_T5 = 48


@contextmanager
def all_probabilities(n_keys: int, n_queries: int | None = None) -> Iterator[list[Tensor]]:
    """Keep the full softmax of every attention over so many keys, as the network calls it.

    There are as many queries unless it is said otherwise.
    """
    kept: list[Tensor] = []
    fused = functional.scaled_dot_product_attention

    def seen(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **kwargs: Any
    ) -> Tensor:
        if (query.shape[2], key.shape[2]) == (n_queries or n_keys, n_keys):
            with torch.autocast("cpu", enabled=False):
                keys = key.float().repeat_interleave(query.shape[1] // key.shape[1], dim=1)
                logits = query.float() @ keys.mT * query.shape[-1] ** -0.5
            if attn_mask is not None and attn_mask.dtype == torch.bool:
                logits = logits.masked_fill(~attn_mask, -torch.inf)
            elif attn_mask is not None:
                logits = logits + attn_mask.float()
            kept.append(logits.softmax(-1).detach())
        return fused(query, key, value, attn_mask, **kwargs)

    functional.scaled_dot_product_attention = seen
    try:
        yield kept
    finally:
        functional.scaled_dot_product_attention = fused


def check(
    pipe: Any,
    words: list[list[str]],
    texts: list[str],
    pixels: slice,
    places: Callable[[str, str], list[int]],
    n_keys: int,
    per_evaluation: int,
    bound: float = 1e-5,
    n_queries: int | None = None,
    n_passes: int = 1,
    prompt_first: bool = False,
    has_matrix: bool = False,
    **options: Any,
) -> Attention:
    """Compare with what the network computes; `places` are those of a word among the keys.

    Of `n_passes` that look alike, one after another, the first is that with the prompt.
    """
    options = {"max_sequence_length": N_T5} | options
    with all_probabilities(n_keys, n_queries) as kept:
        plain = run(pipe, texts, 2, **options)
    everything = {"space": "attention", "layers": lambda name: True, "steps": (0.0, 1.0)}
    with capture(
        pipe, words, **everything, self_attention=has_matrix, matrix_strides=EVERY_MATRIX
    ) as attention:
        captured = run(pipe, texts, 2, **options)
    assert np.array_equal(plain, captured)

    assert len(kept) == 2 * n_passes * per_evaluation
    of_prompt = torch.stack(kept).unflatten(0, (2, n_passes, -1))[:, 0].flatten(0, 1)
    mean = of_prompt.mean(0).mean(1)  # entry query key
    ((h, w),) = attention.maps
    n_images = options.get("num_images_per_prompt", 1)
    of_images = [pair for pair in zip(texts, words, strict=True) for _ in range(n_images)]
    first = 0 if prompt_first else len(mean) - len(of_images)
    for image, (text, wanted) in enumerate(of_images):
        if has_matrix:
            expected = matrix_of(of_prompt, pixels, first + image)
            assert (attention.self_matrices[h, w][image] - expected).abs().max() < bound
            assert (attention.self_matrices[h, w][image] - expected.mT).abs().max() > 1e-4
        for word in wanted:
            columns = list(attention.columns(image, word))
            expected = mean[first + image, pixels][:, places(text, word)]
            got = attention.maps[h, w][image, columns].flatten(1).mT
            assert got.shape == expected.shape == (h * w, len(columns))
            assert (got - expected).abs().max() < bound
            assert (got - expected.roll(1, dims=0)).abs().max() > 1e-4
    return attention


def matrix_of(kept: Sequence[Tensor] | Tensor, pixels: slice, image: int) -> Tensor:
    """Return the mean from pixels to pixels, whose rows sum to 1 in each head."""
    parts = [one[image][:, pixels, pixels] for one in kept]
    return torch.stack([one / one.sum(-1, keepdim=True) for one in parts]).mean((0, 1))
