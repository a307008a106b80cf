"""Models whose network is a transformer, from their folder to items with masks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import done, refused
from slow_reference import PLANE

from diffumask.attention.capture import capture
from diffumask.errors import InputError
from diffumask.models import load, resolve
from diffumask.sampling.observe import observe
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target

pytestmark = pytest.mark.numeric

BIRD = Target("bird", "bird", 1)
PLANT = Target("potted plant", "pottedplant", 2)
PROMPTS = [Prompt("a bird on grass", (BIRD,)), Prompt(PLANE, (PLANT,))]
FOLDERS = ["sd3_folder", "flux_folder"]


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def pipe(folder: Path) -> Any:
    return load(resolve(str(folder)), "cpu")


def settings(**changed: Any) -> SampleSettings:
    return SampleSettings(2, 3.0, 64, 48, **changed)


def test_a_folder_says_how_it_is_sampled(sd3_folder: Path, flux_folder: Path) -> None:
    of_sd3, of_flux = resolve(str(sd3_folder)), resolve(str(flux_folder))
    assert (of_sd3.height, of_sd3.num_inference_steps, of_sd3.guidance_scale) == (64, 28, 4.5)
    # the small FLUX has no guidance as an input, as schnell
    assert (of_flux.height, of_flux.num_inference_steps, of_flux.guidance_scale) == (1024, 4, 0.0)
    assert of_sd3.family.half == of_flux.family.half == "bfloat16"


def test_samples_are_the_pictures_of_the_pipeline_with_heat(pipe: Any) -> None:
    made = sample(pipe, PROMPTS, [3, 4], settings())
    assert list(made[0].heats) == list(made[0].affinities) == ["bird"]
    assert set(made[1].heats) == {"potted plant", "aeroplane"} >= {*made[1].affinities}
    plain = pipe(
        [prompt.text for prompt in PROMPTS],
        height=64,
        width=48,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
    ).images
    for one, image in zip(made, plain, strict=True):
        assert np.array_equal(one.image, np.array(image))
        for heat in (*one.heats.values(), *one.affinities.values()):
            assert heat.shape == (4, 3)
            assert heat.max() == 1
    assert (made[0].heats["bird"] != made[1].heats["potted plant"]).any()


def test_an_item_does_not_depend_on_its_batch(pipe: Any) -> None:
    together = sample(pipe, PROMPTS, [3, 4], settings())[1]
    (alone,) = sample(pipe, PROMPTS[1:], [4], settings())
    assert np.abs(together.image.astype(int) - alone.image).max() <= 1
    for word, heat in alone.heats.items():
        assert np.abs(together.heats[word] - heat).max() < 0.02


def test_pictures_are_seen_as_noised_latents(pipe: Any) -> None:
    images = list(np.random.default_rng(0).integers(256, size=(2, 64, 48, 3)).astype(np.uint8))
    got = observe(pipe, images, PROMPTS, seeds=[3, 4], timesteps=(300,), affinity=True)

    pixels = torch.tensor(np.stack(images) / 127.5 - 1, dtype=torch.float32).permute(0, 3, 1, 2)
    noise = torch.stack(
        [torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)]
    )
    with torch.no_grad():
        mode = pipe.vae.encode(pixels).latent_dist.mode()
    latents = mode * pipe.vae.config.scaling_factor
    noisy = 0.7 * latents + 0.3 * noise
    is_flux = type(pipe).__name__ == "FluxPipeline"
    words = [["bird"], ["potted plant", "aeroplane"]]
    texts = [prompt.text for prompt in PROMPTS]
    with torch.no_grad(), capture(pipe, words, steps=(0.0, 1.0)) as attention:
        if is_flux:
            text, pooled, txt_ids = pipe.encode_prompt(texts, None)
            pipe.transformer(
                hidden_states=pipe._pack_latents(noisy, 2, 4, 8, 6),
                encoder_hidden_states=text,
                pooled_projections=pooled,
                timestep=torch.tensor([0.3, 0.3]),
                txt_ids=txt_ids,
                img_ids=pipe._prepare_latent_image_ids(2, 4, 3, "cpu", torch.float32),
            )
        else:
            text, _, pooled, _ = pipe.encode_prompt(
                texts, None, None, do_classifier_free_guidance=False
            )
            pipe.transformer(
                hidden_states=noisy,
                encoder_hidden_states=text,
                pooled_projections=pooled,
                timestep=torch.tensor([300.0, 300.0]),
            )
    for image, prompt in enumerate(PROMPTS):
        word = prompt.targets[0].word
        expected = attention.maps[4, 3][image, list(attention.columns(image, word))].mean(0)
        expected = (expected / expected.max()).numpy()
        assert np.abs(got[image].heats[word] - expected).max() < 0.01
        assert np.abs(got[image].heats[word] - np.roll(expected, 1)).max() > 0.01
        assert got[image].affinities[word].shape == (4, 3)


def test_pictures_of_a_wrong_kind_are_refused(pipe: Any) -> None:
    image = np.zeros((64, 48, 3), np.uint8)
    for timesteps in ((), (1000,), (-1,)):
        with pytest.raises(InputError, match=r"expected timesteps in 0\.\.999"):
            observe(pipe, [image], PROMPTS[:1], seeds=[0], timesteps=timesteps)


def test_items_are_generated_and_masked_anew(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "birds"
    words = ["generate", "--model", folder, "--class", "bird", "-n", 2, "-o", out, "--keep-maps"]
    done(*words, "--num-inference-steps", 2, "--height", 64, "--width", 48)
    run = json.loads((out / "run.json").read_text())
    assert (run["settings"]["height"], run["settings"]["model"]) == (64, folder.name)
    done("verify", out)
    done("remask", out, "-o", tmp_path / "anew")


def test_what_a_family_cannot_be_asked_is_refused_before_it_loads(
    flux_folder: Path, sd3_folder: Path, tmp_path: Path
) -> None:
    words = ["generate", "--class", "bird", "-n", 1, "-o", tmp_path / "x"]
    line = refused(
        *words, "--model", flux_folder, "--negative-prompt", "snow", "--guidance-scale", 3
    )
    assert "expected no negative prompt with random_flux, which takes none" in line
    line = refused(*words, "--model", sd3_folder, "--height", 72)
    assert "expected a height divisible by 16, got 72; use 64" in line
    assert not (tmp_path / "x").exists()


def test_a_model_of_another_kind_is_refused_by_name(sd3_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    index = json.loads((sd3_folder / "model_index.json").read_text())
    index["_class_name"] = "LuminaPipeline"
    index["transformer"] = ["diffusers", "LuminaNextDiT2DModel"]
    (other / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="got LuminaPipeline with LuminaNextDiT2DModel"):
        resolve(str(other))
