"""The autoencoder of photographs that benchmarks read, from random weights named as published."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.photographs.taef2 import PooledBlock, load_taef2
from diffumask.segmentator.features import decoded_states, decoder_shape, encode_images

BLOCKS = {
    "encoder": (1, 3, 4, 5, 7, 8, 9, 11, 12, 13),
    "decoder": (3, 4, 5, 8, 9, 10, 13, 14, 15, 18),
}
POOLED = {"encoder": (11, 12, 13), "decoder": (3, 4, 5)}
PLAIN = {"encoder": (2, 6, 10), "decoder": (7, 12, 17)}
ENDS = {"encoder": {0: (64, 3), 14: (32, 64)}, "decoder": {1: (64, 32), 19: (3, 64)}}


def weights(part: str) -> dict[str, torch.Tensor]:
    """Random weights by the keys and shapes that the published files have."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (out, inner) in ENDS[part].items():
        shapes |= {f"{layer}.weight": (out, inner, 3, 3), f"{layer}.bias": (out,)}
    shapes |= {f"{layer}.weight": (64, 64, 3, 3) for layer in PLAIN[part]}
    for layer in BLOCKS[part]:
        for place in (0, 2, 4):
            key = f"{layer}.conv.{place}"
            shapes |= {f"{key}.weight": (64, 64, 3, 3), f"{key}.bias": (64,)}
    for layer in POOLED[part]:
        key = f"{layer}.pool"
        shapes |= {f"{key}.0.weight": (256, 64, 1, 1), f"{key}.3.weight": (64, 256, 1, 1)}
        shapes |= {f"{key}.1.weight": (256,), f"{key}.1.bias": (256,)}
    torch.manual_seed(0)
    return {name: torch.randn(shape) / 40 for name, shape in shapes.items()}


def test_it_is_an_autoencoder_of_factor_8_whose_decoder_heads_can_read(tmp_path: Path) -> None:
    for part in ("encoder", "decoder"):
        save_file(weights(part), tmp_path / f"{part}.safetensors")
    vae = load_taef2(tmp_path)
    pooled: list[Any] = [module for module in vae.modules() if isinstance(module, PooledBlock)]
    assert len(pooled) == 6
    first = weights("decoder")["3.pool.0.weight"]
    assert any(torch.equal(block.pool[0].weight, first) for block in pooled)
    images = np.random.default_rng(0).integers(256, size=(2, 16, 24, 3), dtype=np.uint8)
    latents = encode_images(vae, images)
    assert latents.shape == (2, 32, 2, 3)
    states = decoded_states(vae, latents)
    assert [None if one is None else one.shape[1] for one in states] == [64] * 5
    assert decoder_shape(vae).factors == (8, 8, 4, 2, 1)
