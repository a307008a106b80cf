"""The ways of others in benchmarks/strategies.py keep what they are measured for."""

from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
N_TOKENS, N_WORD_TOKENS = 77, 3


@pytest.fixture
def strategies(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return pytest.importorskip("strategies")


@pytest.fixture
def small(strategies: Any) -> Any:
    architectures = pytest.importorskip("architectures")
    return architectures.build("small", "cpu", torch.float32)


def latents(pipe: Any) -> torch.Tensor:
    seeded = torch.Generator().manual_seed(0)
    size = {"height": 64, "width": 64}
    prompt = "a photo of a bird and a potted plant"
    return pipe(
        prompt, num_inference_steps=2, output_type="latent", generator=seeded, **size
    ).images


def test_all_sample_the_same_image_and_put_the_processors_back(strategies: Any, small: Any) -> None:
    plain, before = latents(small), small.unet.attn_processors
    for name, strategy in strategies.STRATEGIES.items():
        with strategy(small) as kept:
            assert (latents(small) - plain).abs().max() < 1e-4, name
            assert bool(kept()) == (name != "plain")
        assert small.unet.attn_processors == before


def test_the_variants_have_our_sums(strategies: Any, small: Any) -> None:
    variants = [name for name in strategies.STRATEGIES if name.startswith("variant")]
    with strategies.ours(small) as kept:
        latents(small)
        ours = {sums[0, 0].numel(): sums[0] for sums in kept()}
    assert len(variants) == 2
    for name in variants:
        with strategies.STRATEGIES[name](small) as kept:
            latents(small)
            for sums in kept():
                expected = ours[sums.shape[1]].flatten(1).mT
                assert sums[0].shape == expected.shape
                assert (sums[0] - expected).abs().max() < 1e-4
