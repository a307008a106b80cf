"""The built-in model as it ships: a plain diffusers folder, small, with a card."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from safetensors.torch import load_file

from diffumask.attention.capture import capture
from diffumask.masks.enlarge import enlarge
from diffumask.models import MODELS, load
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target

pytestmark = pytest.mark.numeric

FOLDER = Path(MODELS["tiny"].source)
MAX_BYTES = 40e6


@pytest.fixture(scope="module")
def tiny() -> DiffusionPipeline:
    return load(MODELS["tiny"], device="cpu", dtype="float32")


def test_plain_diffusers_loads_and_runs_it():
    pipeline: Any = StableDiffusionPipeline.from_pretrained(FOLDER)
    image = pipeline("a bird on grass", num_inference_steps=1, height=32, width=48).images[0]
    assert image.size == (48, 32)
    assert pipeline.safety_checker is None
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


def test_it_is_small_and_has_a_card():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt", ".md"}
    assert "Licence" in (FOLDER / "MODEL_CARD.md").read_text("utf-8")


def test_weights_are_half_precision():
    for path in FOLDER.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_non_square_images_and_three_resolutions(tiny):
    with capture(tiny, ["bird", "grass"]) as attention:
        image = tiny("a bird on grass", height=64, width=96, num_inference_steps=1).images[0]
    assert image.size == (96, 64)
    assert sorted(attention.maps) == [(2, 3), (4, 6), (8, 12)]


def test_attention_to_the_object_is_highest_on_the_object(tiny):
    prompt = Prompt(
        "a photo of a toadstool mushroom on grass", (Target("mushroom", "mushroom", 27),)
    )
    (one,) = sample(tiny, [prompt], [3], SampleSettings(10, 4.0, 96, 128))
    red, green, _ = one.image.astype(int).transpose(2, 0, 1)
    is_red = red > green + 40  # a toadstool's cap, and nothing of the ground
    heat = enlarge(one.heats["mushroom"], is_red.shape)
    assert 0.02 < is_red.mean() < 0.6
    assert heat[is_red].mean() > heat[~is_red].mean() + 0.2


def test_every_class_of_its_vocabulary_fits_its_tokenizer(tiny):
    for entry in load_vocabulary("tiny").classes:
        assert len(tiny.tokenizer.tokenize(entry.word)) <= 4
