"""The formulas of attention beside slow twins: head after head, in double precision."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_reference import LargestTensor, needs_bfloat16
from torch import Tensor
from torch.nn import functional

from diffumask.attention import probabilities
from diffumask.attention.kernel import with_logsumexp
from diffumask.attention.probabilities import chunk_bytes, pixel_attention, widens, word_attention

pytestmark = pytest.mark.numeric
HALVES = [torch.float16, torch.bfloat16]


def random_projections(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return queries and keys as layers give them: heads are columns of what is projected."""
    images, heads, pixels, channels = shape
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, images, pixels, heads * channels, generator=generator).unbind(0)
    return tuple(one.unflatten(-1, (heads, channels)).transpose(1, 2) for one in (q, k))  # type: ignore


def slow_softmax(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return the attention of one head."""
    return (q.double() @ k.double().mT * scale).softmax(dim=-1)


def slow_pixels(q: Tensor, k: Tensor, scale: float) -> Tensor:
    of_images = []
    for q_image, k_image in zip(q, k, strict=True):
        heads = [slow_softmax(a, b, scale) for a, b in zip(q_image, k_image, strict=True)]
        of_images.append(torch.stack(heads).mean(0))
    return torch.stack(of_images)


@given(
    n_images=st.integers(1, 4),
    n_heads=st.integers(1, 5),
    n_at_once=st.integers(0, 25),
    seed=st.integers(0, 9),
)
def test_pixel_attention_is_the_mean_over_heads_in_chunks_of_any_size(
    n_images: int, n_heads: int, n_at_once: int, seed: int
) -> None:
    q, k = random_projections(n_images, n_heads, 6, 4, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probabilities, "chunk_bytes", lambda device: 4 * 6 * 6 * n_at_once)
        mean = pixel_attention(q, k, 0.7)
    assert mean.dtype == torch.float32
    assert (mean - slow_pixels(q, k, 0.7)).abs().max() < 1e-6


def test_no_more_than_a_chunk_of_the_attention_of_all_heads_stands_at_a_time() -> None:
    largest = LargestTensor()
    q, k = random_projections(3, 5, 1024, 4)
    with largest:
        pixel_attention(q, k, 0.5)
    assert 4 * largest.numel <= chunk_bytes(q.device)


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_multiplied_as_exactly_as_singles(dtype: torch.dtype) -> None:
    q, k = (one.to(dtype) for one in random_projections(2, 3, 12, 8))
    positions = torch.tensor([[1, 4], [0, 11]])
    pixels, words = pixel_attention(q, k, 3.0), word_attention(q, k, positions, 3.0)
    assert pixels.dtype == words.dtype == torch.float32
    assert (pixels - slow_pixels(q, k, 3.0)).abs().max() < 1e-6
    assert (words - words_of_each_head(q, k, positions, 3.0)).abs().max() < 1e-6


def words_of_each_head(q: Tensor, k: Tensor, positions: Tensor, scale: float) -> Tensor:
    of_images = [
        torch.stack([slow_softmax(a, b, scale) for a, b in zip(of_q, of_k, strict=True)])[..., own]
        for of_q, of_k, own in zip(q, k, positions, strict=True)
    ]
    return torch.stack(of_images)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_the_kernel_tells_the_denominator_and_its_output_stays_the_same(dtype: torch.dtype) -> None:
    q, k = random_projections(3, 2, 35, 8)
    q, k, v = q.to(dtype), k[:, :, :9].to(dtype), torch.rand(3, 2, 9, 8).to(dtype)
    positions = torch.tensor([[1, 4], [0, 8], [2, 2]])
    out, logsumexp = with_logsumexp(q, k, v, scale=2.0)
    assert torch.equal(out, functional.scaled_dot_product_attention(q, k, v, scale=2.0))
    assert logsumexp is not None
    expected = words_of_each_head(q, k, positions, 2.0)
    # of halves the kernel of some CPUs takes exponentials to fewer bits than float32 has
    for told, most in ((None, 1e-5), (logsumexp, 1e-5 if dtype == torch.float32 else 1e-3)):
        weights = word_attention(q, k, positions, 2.0, told)
        assert weights.dtype == torch.float32
        assert (weights - expected).abs().max() < most


@pytest.mark.parametrize(
    "more",
    [
        {"attn_mask": torch.zeros(35, 35)},
        {"is_causal": True},
        {"dropout_p": 1.0},
        {"enable_gqa": True},
    ],
)
def test_other_calls_are_those_of_torch(more: dict[str, Any]) -> None:
    q, k = random_projections(2, 2, 35, 8)
    out, logsumexp = with_logsumexp(q, k, k, **more)
    assert torch.equal(out, functional.scaled_dot_product_attention(q, k, k, **more))
    assert logsumexp is None


@needs_bfloat16
def test_autocast_casts_what_the_kernel_is_given() -> None:
    q, k = random_projections(2, 2, 35, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, logsumexp = with_logsumexp(q, k, k)
        assert torch.equal(out, functional.scaled_dot_product_attention(q, k, k))
    assert out.dtype == torch.bfloat16
    assert logsumexp is None


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_the_cpu_does_not_widen_products(dtype: torch.dtype) -> None:
    assert not widens(torch.zeros(1, dtype=dtype))


@pytest.mark.parametrize("scale", [0.125, 3.0])
@pytest.mark.parametrize("dtype", HALVES)
def test_where_the_device_widens_products_it_is_given_the_halves(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, scale: float
) -> None:
    given_dtypes = []

    def bmm(q: Tensor, k: Tensor, out_dtype: Any = None) -> Tensor:
        given_dtypes.append((q.dtype, k.dtype, out_dtype))
        return q.to(out_dtype) @ k.to(out_dtype)

    q, k = (one.to(dtype) for one in random_projections(2, 3, 12, 8))
    monkeypatch.setattr(probabilities, "widens", lambda q: True)
    monkeypatch.setattr(torch, "bmm", bmm)
    assert (pixel_attention(q, k, scale) - slow_pixels(q, k, scale)).abs().max() < 1e-6
    assert set(given_dtypes) == {(dtype, dtype, torch.float32)}
