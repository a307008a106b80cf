"""Weights in 8 bits, by the library that the extra `quantize` installs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import T5Config, T5EncoderModel

from diffumask.models import MODELS, Loading, load
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target

pytest.importorskip("torchao")
INT8 = Loading(quantize="int8")
CAT = [Prompt("a photo of a cat", (Target("cat", "cat", 1),))]
SETTINGS = SampleSettings(4, 4.0, height=64, width=96)


def kinds(module: torch.nn.Module) -> set[str]:
    return {type(one).__name__ for one in module.parameters()}


def test_a_network_in_8_bits_draws_and_shows_nearly_the_same() -> None:
    plain: Any = load(MODELS["tiny"], "cpu", "float32")
    quantized: Any = load(MODELS["tiny"], "cpu", "float32", INT8)
    assert "Int8Tensor" in kinds(quantized.unet)
    assert kinds(quantized.vae) == kinds(quantized.text_encoder) == {"Parameter"}
    (one,), (other,) = (sample(pipe, CAT, [0], SETTINGS) for pipe in (plain, quantized))
    assert 0 < np.abs(one.image.astype(int) - other.image).mean() < 5
    assert np.corrcoef(one.heats["cat"].ravel(), other.heats["cat"].ravel())[0, 1] > 0.99


def test_a_large_text_encoder_is_quantized_as_it_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = T5Config(vocab_size=9, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    plain = T5EncoderModel(config).eval()
    plain.save_pretrained(tmp_path)
    index = {"text_encoder_3": ["transformers", "T5EncoderModel"]}
    made = INT8.quantizations(index, torch.float32)["text_encoder_3"]
    loaded = T5EncoderModel.from_pretrained(tmp_path, quantization_config=made)
    assert "Int8Tensor" in kinds(loaded)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected, got = (one(ids).last_hidden_state for one in (plain, loaded))
    assert 0 < (expected - got).abs().max() < 0.1
