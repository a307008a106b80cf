"""Capture in Z-Image, whose batches hold texts of different lengths as lists."""

from typing import Any

import pytest
import torch
from diffusers import ZImagePipeline
from joint_reference import N_T5, all_probabilities, check
from random_chats import make_z_image
from slow_reference import BIRD, PLANE, run

from diffumask.attention.capture import capture
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric

N_PIXELS = 12
N_IMAGE = 32  # these padded
N_BEFORE = 3  # <|im_start|>, user, end of line
LONG = "an aeroplane and a potted plant, high in snow, the sand and the grass and the street"
TWO = [BIRD, LONG]
WANTED = [["bird"], ["potted plant", "aeroplane"]]


@pytest.fixture
def z_image() -> ZImagePipeline:
    return make_z_image()


def places(pipe: Any, text: str, word: str) -> list[int]:
    return [N_IMAGE + N_BEFORE + place for place in word_positions(pipe.tokenizer, text, word)]


def n_keys(pipe: Any, text: str) -> int:
    (states,) = pipe.encode_prompt([text], do_classifier_free_guidance=False)[0]
    return N_IMAGE + -(-len(states) // 32) * 32


@pytest.mark.parametrize(("guidance_scale", "n_images"), [(0.0, 2), (5.0, 1), (5.0, 2)], ids=str)
@pytest.mark.parametrize("text", [LONG, PLANE], ids=["lengths", "length"])
def test_z_image(z_image: ZImagePipeline, guidance_scale: float, n_images: int, text: str) -> None:
    assert (n_keys(z_image, text) > n_keys(z_image, BIRD)) == (text is LONG)
    attention = check(
        z_image,
        WANTED,
        [BIRD, text],
        slice(0, N_PIXELS),
        lambda text, word: places(z_image, text, word),
        n_keys=n_keys(z_image, text),
        per_evaluation=3,
        prompt_first=True,
        has_matrix=True,
        guidance_scale=guidance_scale,
        num_images_per_prompt=n_images,
        max_sequence_length=80,
    )
    assert attention.n_heads == {(4, 3): 6}


def test_guidance_that_ends_leaves_the_prompt(z_image: ZImagePipeline) -> None:
    maps = []
    options = {"num_images_per_prompt": 2, "max_sequence_length": N_T5}
    for steps, truncation in [((0.0, 1.0), 0.0), ((0.0, 0.5), 0.0), ((0.5, 1.0), 0.0)]:
        with capture(z_image, ["bird"], steps=steps) as attention:
            run(z_image, BIRD, 2, cfg_truncation=truncation, **options)
        maps.append(attention.maps[4, 3])
    assert ((maps[1] + maps[2]) / 2 - maps[0]).abs().max() < 1e-6
    assert (maps[0][0] - maps[0][1]).abs().max() > 1e-5


def test_the_middle_third_is_read(z_image: ZImagePipeline) -> None:
    with all_probabilities(n_keys(z_image, BIRD)) as kept:
        run(z_image, BIRD, 1, guidance_scale=0.0)
    with capture(z_image, ["bird"]) as attention:
        run(z_image, BIRD, 1, guidance_scale=0.0)
    expected = torch.stack(kept)[1:, 0, :, :N_PIXELS].mean((0, 1))
    got = attention.maps[4, 3][0, list(attention.columns(0, "bird"))].flatten(1).mT
    assert (got - expected[:, places(z_image, BIRD, "bird")]).abs().max() < 1e-5


def test_a_word_that_is_cut_off_is_named(z_image: ZImagePipeline) -> None:
    with (
        pytest.raises(InputError, match=r"'street' within the first 13 tokens of the prompt"),
        capture(z_image, ["street"]),
    ):
        run(z_image, LONG, 1, max_sequence_length=16)


def test_marks_of_the_chat_are_no_words_of_the_prompt(z_image: ZImagePipeline) -> None:
    with (
        pytest.raises(InputError, match="expected the word 'user' in the prompt"),
        capture(z_image, ["user"]),
    ):
        run(z_image, BIRD, 1)


def test_several_images_of_one_sample_are_refused(z_image: ZImagePipeline) -> None:
    with pytest.raises(InputError, match="images as input cannot"), capture(z_image, ["bird"]):
        z_image.transformer([[torch.zeros(4, 1, 8, 6)]], torch.ones(1), [[torch.zeros(4, 16)]])
