"""Heat maps of images that the model did not make."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from diffumask.attention.aggregate import aggregate, localizing_weights
from diffumask.attention.capture import capture
from diffumask.errors import InputError
from diffumask.models import load, resolve
from diffumask.sampling.observe import observe, observing
from diffumask.types import Prompt, Target

pytestmark = pytest.mark.numeric

BIRD = Target("bird", "bird", 1)
PLANT = Target("potted plant", "pottedplant", 2)
PROMPTS = [
    Prompt("a bird on grass", (BIRD,)),
    Prompt("a potted plant and a bird, high in snow", (PLANT, BIRD)),
]
SIZE_HW = (64, 48)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(256, size=(2, *SIZE_HW, 3)).astype(np.uint8))


@pytest.mark.parametrize("kind", ["pipe", "xl_pipe"])
def test_each_word_of_each_caption_has_a_heat_map(
    kind: str, images: list[np.ndarray], request: pytest.FixtureRequest
) -> None:
    pipe = request.getfixturevalue(kind)
    before = pipe.unet.attn_processors
    first, second = observe(pipe, images, PROMPTS, seeds=[3, 4], timesteps=(100, 300))
    assert (first.prompt, first.seed, list(first.heats)) == (PROMPTS[0], 3, ["bird"])
    assert list(second.heats) == ["potted plant", "bird"]
    for one, image in zip((first, second), images, strict=True):
        assert np.array_equal(one.image, image)
        for heat in one.heats.values():
            assert heat.max() == 1
            assert heat.shape[0] > heat.shape[1]
    assert pipe.unet.attn_processors == before


def test_it_is_the_schedulers_noise_on_the_mode_of_the_latents(pipe: Any, images: Any) -> None:
    timesteps = [200, 500]
    (got,) = observe(pipe, images[:1], PROMPTS[:1], seeds=[7], timesteps=timesteps)

    pixels = torch.tensor(images[0] / 127.5 - 1, dtype=torch.float32).permute(2, 0, 1)[None]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad(), capture(pipe, ["bird"]) as attention:
        latents = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
        text, _ = pipe.encode_prompt(PROMPTS[0].text, "cpu", 1, False)
        for timestep in timesteps:
            noise = torch.randn(latents.shape, generator=generator)
            noisy = pipe.scheduler.add_noise(latents, noise, torch.tensor([timestep]))
            pipe.unet(noisy, timestep, encoder_hidden_states=text)
    heats = aggregate(attention, got.heats["bird"].shape, weights=localizing_weights(attention))
    np.testing.assert_allclose(got.heats["bird"], heats[0]["bird"], atol=3e-3)


def test_an_item_is_the_same_alone_and_in_a_batch(pipe: Any, images: Any) -> None:
    together = observe(pipe, images, PROMPTS, seeds=[3, 4])
    for image, prompt, in_batch in zip(images, PROMPTS, together, strict=True):
        (alone,) = observe(pipe, [image], [prompt], seeds=[in_batch.seed])
        for word, heat in alone.heats.items():
            np.testing.assert_allclose(heat, in_batch.heats[word], atol=5e-3)


def test_noise_is_of_the_seed(pipe: Any, images: Any) -> None:
    one, again, other = (
        observe(pipe, images[:1], PROMPTS[:1], seeds=[seed])[0].heats["bird"] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_any_scheduler_of_the_same_noise_sees_the_same(
    pipe: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = observe(pipe, images[:1], PROMPTS[:1], seeds=[0])
    euler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    monkeypatch.setattr(pipe, "scheduler", euler)
    (got,) = observe(pipe, images[:1], PROMPTS[:1], seeds=[0])
    np.testing.assert_allclose(got.heats["bird"], expected.heats["bird"], atol=5e-3)


def weights_that_encode(pipe: Any) -> list[torch.Tensor]:
    """Gather a weight of the encoder as it is at each call; held, so that no other takes its place.

    For a pipeline of the test's own, as the hook stays.
    """
    seen: list[torch.Tensor] = []
    weight = pipe.vae.encoder.conv_in.weight
    pipe.vae.encoder.register_forward_pre_hook(lambda *_: seen.append(weight.detach()))
    return seen


def n_places(weights: list[torch.Tensor]) -> int:
    return len({one.data_ptr() for one in weights})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_many_calls_move_the_autoencoder_once_and_tell_nothing(
    dtype: str, tiny_random_folder: Path, images: Any, capfd: Any, caplog: Any
) -> None:
    pipe: Any = load(resolve(str(tiny_random_folder)), "cpu", dtype)
    before = {name: one.clone() for name, one in pipe.vae.state_dict().items()}
    seen, own = weights_that_encode(pipe), pipe.vae.encoder.conv_in.weight.detach()
    capfd.readouterr()
    caplog.clear()

    with observing(pipe) as observe_more:
        inside = [observe_more(images, PROMPTS, seeds=[3, 4]) for _ in range(3)]
    assert n_places(seen) == 1
    alone = [observe(pipe, images, PROMPTS, seeds=[3, 4]) for _ in range(3)]
    assert {one.dtype for one in seen} == {torch.float32}
    if dtype == "float32":
        assert n_places([own, *seen]) == 1  # nor does a call alone

    assert [*capfd.readouterr(), *caplog.records] == ["", ""]
    for name, weight in pipe.vae.state_dict().items():
        assert weight.dtype == before[name].dtype
        assert torch.equal(weight, before[name])
    for one, other in zip([*inside[1], *inside[2], *alone[0]], 3 * inside[0], strict=True):
        for word, heat in one.heats.items():
            np.testing.assert_array_equal(heat, other.heats[word])


def test_an_autoencoder_of_several_dtypes_is_put_back_after_an_error(
    tiny_random_folder: Path, images: Any
) -> None:
    pipe: Any = load(resolve(str(tiny_random_folder)), "cpu", "float16")
    pipe.vae.decoder.mid_block.float()
    before = {name: weight.dtype for name, weight in pipe.vae.state_dict().items()}
    assert set(before.values()) == {torch.float16, torch.float32}
    cut_off = Prompt(90 * "a " + "bird", (BIRD,))
    with pytest.raises(InputError, match="bird"), observing(pipe) as observe_more:
        observe_more(images[:1], [cut_off], seeds=[0])
    assert {name: weight.dtype for name, weight in pipe.vae.state_dict().items()} == before


def test_no_images_give_no_samples(pipe: Any) -> None:
    assert observe(pipe, [], [], seeds=[]) == []


def test_a_prompt_and_a_seed_per_image_are_required(pipe: Any, images: Any) -> None:
    with pytest.raises(ValueError, match="got 2 images, 1 prompts and 1 seeds"):
        observe(pipe, images, PROMPTS[:1], seeds=[0])


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((60, 48, 3), np.uint8, "divisible by 8, got 60x48"),
        ((0, 48, 3), np.uint8, "divisible by 8, got 0x48"),
        ((64, 48), np.uint8, "RGB images of 8 bits, got .64, 48. of uint8"),
        ((64, 48, 4), np.uint8, "RGB images of 8 bits"),
        ((64, 48, 3), np.float32, "RGB images of 8 bits, got .* of float32"),
    ],
)
def test_images_of_other_kinds_are_refused(pipe: Any, shape: Any, dtype: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        observe(pipe, [np.zeros(shape, dtype)], PROMPTS[:1], seeds=[0])


def test_images_of_several_sizes_are_refused(pipe: Any) -> None:
    images = [np.zeros((64, width, 3), np.uint8) for width in (48, 56)]
    with pytest.raises(InputError, match="images of one size"):
        observe(pipe, images, PROMPTS, seeds=[0, 1])


@pytest.mark.parametrize("timesteps", [(), (-1,), (10, 1000)])
def test_timesteps_outside_of_training_are_refused(pipe: Any, images: Any, timesteps: Any) -> None:
    with pytest.raises(InputError, match=r"timesteps in 0\.\.999"):
        observe(pipe, images, PROMPTS, seeds=[0, 1], timesteps=timesteps)


def test_a_word_that_the_caption_lacks_is_refused(pipe: Any, images: Any) -> None:
    cut_off = Prompt(90 * "a " + "bird", (BIRD,))
    with pytest.raises(InputError, match="bird"):
        observe(pipe, images[:1], [cut_off], seeds=[0])


def test_a_scheduler_of_another_kind_of_noise_is_refused(
    pipe: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "scheduler", FlowMatchEulerDiscreteScheduler())
    with pytest.raises(InputError, match="alphas_cumprod, got FlowMatchEulerDiscreteScheduler"):
        observe(pipe, images, PROMPTS, seeds=[0, 1])
