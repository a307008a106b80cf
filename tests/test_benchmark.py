"""The ways of others in benchmarks/speed/strategies.py keep what they are measured for."""

from typing import Any

import pytest
import torch

from benchmarks.speed import architectures
from benchmarks.speed.strategies import STRATEGIES


@pytest.fixture
def small() -> Any:
    return architectures.build("small", "cpu", torch.float32)


def latents(pipe: Any) -> torch.Tensor:
    seeded = torch.Generator().manual_seed(0)
    size = {"height": 64, "width": 64}
    prompt = "a photo of a bird and a potted plant"
    return pipe(
        prompt, num_inference_steps=2, output_type="latent", generator=seeded, **size
    ).images


def test_all_sample_the_same_image_and_put_the_processors_back(small: Any) -> None:
    plain, before = latents(small), small.unet.attn_processors
    for name, strategy in STRATEGIES.items():
        with strategy(small) as kept:
            assert (latents(small) - plain).abs().max() < 1e-4, name
            assert bool(kept()) == (name != "plain")
        assert small.unet.attn_processors == before
