"""How much of a picture a word explains to the model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from diffumask.models import load, resolve
from diffumask.sampling.noising import conditions, encode
from diffumask.sampling.observe import observe
from diffumask.sampling.presence import TIMESTEPS, presences, presences_of, tells_presence
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.scenes import load_catalog, render_scene
from diffumask.scenes.sprites import find_font
from diffumask.seeds import item_seed
from diffumask.types import Prompt, Target

pytestmark = pytest.mark.numeric

BIRD, CAT = Target("bird", "bird", 1), Target("cat", "cat", 2)
PROMPTS = [
    Prompt("a photo of a bird and a cat on grass", (BIRD, CAT)),
    Prompt("a red cat on snow", (CAT,)),
]
WITHOUT = [
    ["a photo of a cat on grass", "a photo of a bird on grass"],
    ["on snow"],
]
SETTINGS = SampleSettings(2, guidance_scale=5.0, height=64, width=48, presence=True)


def heat_of(shape: Sequence[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(tuple(shape), np.float32)


@pytest.mark.parametrize("kind", ["pipe", "xl_pipe"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_it_is_the_share_of_the_error_without_the_word(
    kind: str, prediction: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = request.getfixturevalue(kind)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type=prediction)
    monkeypatch.setattr(pipe, "scheduler", scheduler)
    factor = pipe.vae_scale_factor
    latents = torch.randn(2, 4, 64 // factor, 48 // factor, generator=torch.Generator())
    heats = [
        {"bird": heat_of(latents.shape[2:], 0), "cat": heat_of(latents.shape[2:], 1)},
        {"cat": heat_of(latents.shape[2:], 2)},
    ]
    found = presences(pipe, latents, PROMPTS, [3, 4], heats)
    for i, prompt in enumerate(PROMPTS):
        for target, without in zip(prompt.targets, WITHOUT[i], strict=True):
            weight = torch.from_numpy(heats[i][target.word])
            own = latents[i : i + 1]
            errors = [
                _slow_error(pipe, own, text, 3 + i, weight) for text in (prompt.text, without)
            ]
            assert found[i][target.word] == pytest.approx(errors[1] / sum(errors), abs=1e-5)


def _slow_error(pipe: Any, latents: torch.Tensor, text: str, seed: int, weight: Any) -> float:
    """Ask for one picture and one text after the other."""
    hw = tuple(pipe.vae_scale_factor * side for side in latents.shape[2:])
    generator = torch.Generator().manual_seed(item_seed(seed, "presence", 0))
    total = 0.0
    for timestep in TIMESTEPS:
        noise = torch.randn(latents.shape[1:], generator=generator)[None]
        noisy = pipe.scheduler.add_noise(latents, noise, torch.tensor([timestep]))
        told = conditions(pipe, [text], hw)
        with torch.no_grad():
            predicted = pipe.unet(noisy, timestep, **told).sample
        kind = pipe.scheduler.config.prediction_type
        wanted = {"epsilon": noise, "sample": latents}.get(kind)
        if wanted is None:
            wanted = pipe.scheduler.get_velocity(latents, noise, torch.tensor([timestep]))
        total += float((weight * (predicted - wanted).square().mean(1)[0]).sum())
    return total


def test_asking_changes_no_image_and_no_heat(pipe: Any) -> None:
    asked = sample(pipe, PROMPTS, [3, 4], SETTINGS)
    unasked = sample(pipe, PROMPTS, [3, 4], replace(SETTINGS, presence=False))
    assert [list(one.presences) for one in asked] == [["bird", "cat"], ["cat"]]
    assert not any(one.presences for one in unasked)
    for one, other in zip(asked, unasked, strict=True):
        assert np.array_equal(one.image, other.image)
        for word, heat in one.heats.items():
            assert np.array_equal(heat, other.heats[word])


def test_an_item_is_the_same_alone_and_in_a_batch(pipe: Any) -> None:
    together = sample(pipe, PROMPTS, [3, 4], SETTINGS)
    (alone,) = sample(pipe, PROMPTS[1:], [4], SETTINGS)
    assert alone.presences["cat"] == pytest.approx(together[1].presences["cat"], abs=1e-4)


def test_models_that_cannot_be_asked_are_left_alone(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tells_presence(pipe)
    monkeypatch.setattr(pipe, "scheduler", FlowMatchEulerDiscreteScheduler())
    assert not tells_presence(pipe)


@pytest.mark.skipif(find_font() is None, reason="needs the emoji font")
def test_words_of_what_is_there_explain_more_than_others() -> None:
    pipe = load(resolve("tiny"))
    plain = {name: one for name, one in load_catalog().backgrounds.items() if not one.is_busy}
    drawn = [render_scene(50_000_000 + i, class_names=["car"]) for i in range(14)]
    scenes = [scene for scene in drawn if scene.background in plain][:4]
    images = [scene.image for scene in scenes]

    def mean_presence(word: str) -> float:
        target = Target(word, word, 1)
        places = [plain[scene.background].phrase for scene in scenes]
        prompts = [Prompt(f"a photo of a {word} {place}", (target,)) for place in places]
        seen = observe(pipe, images, prompts, seeds=range(4), timesteps=(200,), presence=True)
        return float(np.mean([one.presences[word] for one in seen]))

    assert mean_presence("car") > 0.51
    assert mean_presence("car") > mean_presence("bird") + 0.02


def test_latents_of_an_image_are_those_that_are_asked(pipe: Any) -> None:
    image = np.random.default_rng(0).integers(256, size=(64, 48, 3)).astype(np.uint8)
    (seen,) = observe(pipe, [image], PROMPTS[1:], seeds=[4], presence=True)
    latents = encode(pipe, image[None])
    (found,) = presences(pipe, latents, PROMPTS[1:], [4], [dict(seen.heats)])
    assert found == pytest.approx(dict(seen.presences), abs=1e-5)


def test_prompts_that_ask_for_nothing_and_pictures_without_latents_are_not_asked(pipe: Any) -> None:
    nothing = Prompt("grass", ())
    latents = torch.zeros(1, 4, 8, 6)
    assert presences_of(pipe, latents, [nothing], [0], [({}, {})]) == [{}]
    assert presences_of(pipe, None, PROMPTS, [3, 4], [({}, {})] * 2) == [{}, {}]
