"""Images that are not finite are decoded in float32, or refused, and never black."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_vae
from diffusers import StableDiffusionPipeline
from torch import Tensor

from diffumask.errors import InputError
from diffumask.labelled.labels import Labels
from diffumask.models import load, resolve
from diffumask.sampling.decoding import finite_decoding
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.segmentator.facts import Facts
from diffumask.segmentator.file import Segmentator
from diffumask.segmentator.heads import new_head
from diffumask.segmentator.source import SegmentatorSource
from diffumask.types import Prompt, Target

BIRD = Target("bird", "bird", 1)
PROMPTS = [Prompt("a bird on grass", (BIRD,)), Prompt("a bird, high in snow", (BIRD,))]
SETTINGS = SampleSettings(1, 1.0, height=64, width=48, affinity=False)


@contextmanager
def overflowing(vae: Any, image: int, dtypes: tuple[torch.dtype, ...]) -> Iterator[None]:
    """Have the decoder of a VAE overflow for one image of a batch, in some dtypes."""

    def overflow(module: Any, inputs: Any, images: Tensor) -> None:
        if images.dtype in dtypes:
            images[image] = torch.inf - torch.inf

    hook = vae.decoder.register_forward_hook(overflow)
    try:
        yield
    finally:
        hook.remove()


@pytest.fixture
def half(tiny_random_folder: Path) -> StableDiffusionPipeline:
    loaded = load(resolve(str(tiny_random_folder)), device="cpu", dtype="float16")
    assert isinstance(loaded, StableDiffusionPipeline)
    return loaded


def test_what_overflows_is_decoded_in_float32_and_the_rest_stays(half: Any) -> None:
    plain = sample(half, PROMPTS, [3, 4], SETTINGS)
    with overflowing(half.vae, 1, (torch.float16,)):
        first, second = sample(half, PROMPTS, [3, 4], SETTINGS)
    assert [one.upcast for one in (*plain, first, second)] == [False, False, False, True]
    assert np.array_equal(first.image, plain[0].image)
    assert np.abs(second.image.astype(int) - plain[1].image).max() <= 2
    assert half.vae.dtype == torch.float16
    assert "decode" not in vars(half.vae)


def test_a_real_overflow_is_decoded_in_float32() -> None:
    torch.manual_seed(0)
    vae: Any = random_vae().eval()
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(1e5)
        latents = torch.randn(2, 4, 3, 5)
        expected = vae.decode(latents).sample
        vae.half()
        assert not vae.decode(latents.half()).sample.isfinite().all()
        with finite_decoding(vae) as upcast:
            got = vae.decode(latents.half(), return_dict=False)[0]
    assert upcast == {0, 1}
    assert (got - expected).abs().max() < 0.05


def test_an_image_that_is_never_finite_is_refused(half: Any) -> None:
    both = (torch.float16, torch.float32)
    with (
        overflowing(half.vae, 0, both),
        pytest.raises(InputError, match=r"float16 \(overflow\) and in float32; use another VAE"),
    ):
        sample(half, PROMPTS, [3, 4], SETTINGS)
    assert half.vae.dtype == torch.float16
    assert "decode" not in vars(half.vae)


def test_in_float32_there_is_nothing_to_try(pipe: Any) -> None:
    with (
        overflowing(pipe.vae, 0, (torch.float32,)),
        pytest.raises(InputError, match="from the VAE in float32; use another VAE"),
    ):
        sample(pipe, PROMPTS, [3, 4], SETTINGS)


def test_a_dtype_that_the_pipeline_left_after_an_error_is_put_back(half: Any) -> None:
    def upcast_and_fail(vae: Any) -> None:
        with finite_decoding(vae):
            vae.to(torch.float32)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upcast_and_fail(half.vae)
    assert half.vae.dtype == torch.float16


def test_nan_of_the_last_step_is_refused(pipe: Any) -> None:
    hook = pipe.unet.conv_out.register_forward_hook(lambda module, inputs, out: out * torch.nan)
    try:
        with pytest.raises(InputError, match=r"latents after the last step.*dtype float32"):
            sample(pipe, PROMPTS, [3, 4], SETTINGS)
    finally:
        hook.remove()


def test_a_segmentator_sees_what_was_decoded_last(half: Any) -> None:
    labels = Labels({"bird": 1})
    facts = Facts("pyramid", labels, "some model", "0123456789abcdef", 16)
    head = Segmentator(new_head("pyramid", half.vae, 2, seed=1).eval(), facts)
    source = SegmentatorSource(head, half.vae)

    def seen() -> list[np.ndarray]:
        with source.watching(half, PROMPTS) as objects:
            sample(half, PROMPTS, [3, 4], SETTINGS)
        return objects

    plain = seen()
    with overflowing(half.vae, 1, (torch.float16,)):
        again = seen()
    assert len(again) == len(plain) == 2
    for one, other in zip(again, plain, strict=True):
        assert np.isfinite(one).all()
        assert np.abs(one - other).max() < 0.1
