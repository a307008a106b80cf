from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from diffumask.attention.aggregate import aggregate, localizing_weights
from diffumask.attention.capture import capture
from diffumask.errors import InputError
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target

pytestmark = pytest.mark.numeric

BIRD = Target("bird", "bird", 1)
PLANT = Target("potted plant", "pottedplant", 2)
PROMPTS = [
    Prompt("a bird on grass", (BIRD,)),
    Prompt("a potted plant and a bird, high in snow", (PLANT, BIRD)),
]
SETTINGS = SampleSettings(num_inference_steps=2, guidance_scale=5.0, height=64, width=48)


def drawn_alone(pipe: Any, **options: Any) -> np.ndarray:
    """The picture of the first prompt by the pipeline itself, with the settings and the seed 7."""
    drawn = pipe(
        "a bird on grass",
        num_inference_steps=2,
        guidance_scale=5.0,
        height=64,
        width=48,
        generator=torch.Generator().manual_seed(7),
        **options,
    )
    return np.array(drawn.images[0])


def test_a_sample_has_an_image_and_a_heat_map_per_target(pipe: StableDiffusionPipeline) -> None:
    first, second = sample(pipe, PROMPTS, [3, 4], SETTINGS)

    assert (first.prompt, first.seed) == (PROMPTS[0], 3)
    assert (second.prompt, second.seed) == (PROMPTS[1], 4)
    assert list(first.heats) == ["bird"]
    assert list(second.heats) == ["potted plant", "bird"]
    for one in (first, second):
        assert one.image.shape == (64, 48, 3)
        assert one.image.dtype == np.uint8
        for heat in one.heats.values():
            assert heat.shape == (8, 6)
            assert heat.max() == 1
            np.testing.assert_array_equal(heat, np.round(heat * 255).astype(np.float32) / 255)


def test_it_is_the_pipeline_with_capture_and_aggregate(pipe: Any) -> None:
    (got,) = sample(pipe, PROMPTS[:1], [7], SETTINGS)

    with capture(pipe, ["bird"]) as attention:
        image = drawn_alone(pipe)
    (heats,) = aggregate(attention, (8, 6), weights=localizing_weights(attention))
    assert np.array_equal(got.image, image)
    np.testing.assert_allclose(got.heats["bird"], heats["bird"], atol=0.5 / 255 + 1e-6)


def test_an_item_is_the_same_alone_and_in_a_batch(pipe: StableDiffusionPipeline) -> None:
    together = sample(pipe, PROMPTS, [3, 4], SETTINGS)
    for prompt, seed, in_batch in zip(PROMPTS, [3, 4], together, strict=True):
        (alone,) = sample(pipe, [prompt], [seed], SETTINGS)
        difference = np.abs(alone.image.astype(int) - in_batch.image.astype(int))
        assert difference.max() <= 1
        for word, heat in alone.heats.items():
            np.testing.assert_allclose(heat, in_batch.heats[word], atol=1 / 255 + 1e-6)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_the_affinity_comes_with_the_same_image_and_heat(
    pipe: StableDiffusionPipeline, guidance_scale: float
) -> None:
    plain = SampleSettings(2, guidance_scale, 64, 48, affinity=False)
    without = sample(pipe, PROMPTS, [3, 4], plain)
    with_affinity = sample(pipe, PROMPTS, [3, 4], replace(plain, affinity=True))
    for one, other in zip(without, with_affinity, strict=True):
        assert np.array_equal(one.image, other.image)
        assert list(other.affinities) == list(other.heats)
        for word, heat in other.heats.items():
            np.testing.assert_array_equal(heat, one.heats[word])
            assert other.affinities[word].shape == (8, 6)


def test_the_merge_and_the_weights_are_those_asked_for(pipe: StableDiffusionPipeline) -> None:
    coarse = replace(SETTINGS, merge="last", weights={2: 1.0})
    (one,) = sample(pipe, PROMPTS[1:], [4], coarse)
    assert {heat.shape for heat in one.heats.values()} == {(4, 3)}


def test_other_seeds_give_other_images(pipe: StableDiffusionPipeline) -> None:
    first, second = sample(pipe, [PROMPTS[0]] * 2, [0, 2**63 - 1], SETTINGS)
    assert not np.array_equal(first.image, second.image)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_a_negative_prompt_counts_with_guidance_only(
    pipe: StableDiffusionPipeline, guidance_scale: float
) -> None:
    without, with_negative = (
        sample(
            pipe,
            PROMPTS,
            [3, 4],
            SampleSettings(2, guidance_scale, 64, 48, negative_prompt=negative),
        )[0].image
        for negative in ("", "two sheep")
    )
    assert np.array_equal(without, with_negative) == (guidance_scale == 1.0)


@pytest.mark.parametrize("kind", ["pipe", "xl_pipe"])
def test_a_negative_prompt_gives_the_picture_of_the_pipeline_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    pipe = request.getfixturevalue(kind)
    (got,) = sample(pipe, PROMPTS[:1], [7], replace(SETTINGS, negative_prompt="two sheep"))
    assert np.array_equal(got.image, drawn_alone(pipe, negative_prompt="two sheep"))


def test_stable_diffusion_xl_gives_samples(xl_pipe: StableDiffusionXLPipeline) -> None:
    _, second = sample(xl_pipe, PROMPTS, [3, 4], SETTINGS)
    assert second.image.shape == (64, 48, 3)
    assert list(second.heats) == ["potted plant", "bird"]


def test_no_prompts_give_no_samples(pipe: StableDiffusionPipeline) -> None:
    assert sample(pipe, [], [], SETTINGS) == []


def test_a_seed_per_prompt_is_required(pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(ValueError, match="got 1 for 2"):
        sample(pipe, PROMPTS, [3], SETTINGS)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (60, 48, "height divisible by 8, got 60; use 64"),
        (64, 0, "width divisible by 8, got 0; use 8"),
        (-8, 48, "height divisible by 8, got -8; use 8"),
    ],
)
def test_bad_sizes_are_refused(height: int, width: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SampleSettings(2, 5.0, height, width)


def test_no_steps_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1 num_inference_steps, got 0"):
        SampleSettings(0, 5.0, 64, 48)
