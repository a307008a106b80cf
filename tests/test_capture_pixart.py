"""Capture in PixArt, whose layers attend to the text under a mask, or to the pixels."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline
from joint_reference import N_T5, all_probabilities, check
from random_transformers import make_pixart
from slow_reference import BIRD, HALVES, PLANE, needs_bfloat16, run
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from diffumask.attention.aggregate import aggregate
from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.propagate import propagated
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric

TWO = [BIRD, PLANE]
WANTED = [["bird"], ["potted plant", "aeroplane"]]
N_PIXELS = 12  # of 8x6 latents in patches of 2x2
OPTIONS: dict[str, Any] = {"clean_caption": False, "use_resolution_binning": False}


@pytest.fixture
def pixart(t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast) -> PixArtSigmaPipeline:
    return make_pixart(t5, t5_tokenizer)


def check_words(pipe: Any, texts: list[str] = TWO, **options: Any) -> Any:
    return check(
        pipe,
        WANTED,
        texts,
        slice(0, N_PIXELS),
        lambda text, word: list(word_positions(pipe.tokenizer, text.lower(), word)),
        n_keys=N_T5,
        n_queries=N_PIXELS,
        per_evaluation=2,
        **(OPTIONS | options),
    )


@pytest.mark.parametrize("guidance_scale", [1.0, 4.5])
@pytest.mark.parametrize("n_images", [1, 2])
def test_words_are_exact(pixart: PixArtSigmaPipeline, guidance_scale: float, n_images: int) -> None:
    options = {"guidance_scale": guidance_scale, "num_images_per_prompt": n_images}
    attention = check_words(pixart, negative_prompt="sand", **options)
    assert attention.n_heads == {(4, 3): 4}


def test_pixart_alpha_is_the_same(pixart: PixArtSigmaPipeline) -> None:
    check_words(PixArtAlphaPipeline(**pixart.components))


@pytest.mark.parametrize(("dtype", "bound"), HALVES)
def test_half_precision(pixart: PixArtSigmaPipeline, dtype: str, bound: float) -> None:
    half = PixArtSigmaPipeline(**copy.deepcopy(pixart.components))
    half.to(dtype=getattr(torch, dtype))
    check_words(half, bound=bound)


@needs_bfloat16
def test_autocast_rounds_no_more_than_half_precision_does(pixart: PixArtSigmaPipeline) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_words(pixart, bound=2**-8)


def test_padding_takes_no_attention(pixart: PixArtSigmaPipeline) -> None:
    with all_probabilities(N_T5, N_PIXELS) as kept:
        run(pixart, TWO, 1, max_sequence_length=N_T5, **OPTIONS)
    n_tokens = len(pixart.tokenizer(BIRD)["input_ids"])
    of_bird = torch.stack(kept).mean(0)[-2].mean(0)
    assert of_bird[:, n_tokens:].max() == 0
    with capture(pixart, [[BIRD], ["aeroplane"]]) as attention:
        run(pixart, TWO, 1, max_sequence_length=N_T5, **OPTIONS)
    of_text = attention.maps[4, 3][0, list(attention.columns(0, BIRD))].sum(0).flatten()
    assert (of_text + of_bird[:, n_tokens - 1] - 1).abs().max() < 1e-5  # with the end token


def test_words_are_looked_for_in_the_text_as_it_is_cleaned(pixart: PixArtSigmaPipeline) -> None:
    shouted = [f"  {BIRD.upper()} ", f"  {PLANE.upper()} "]
    check_words(pixart, [text.strip() for text in shouted])
    maps = []
    for text in (BIRD, shouted[0]):
        with capture(pixart, ["bird"]) as attention:
            run(pixart, text, 1, max_sequence_length=N_T5, **OPTIONS)
        maps.append(attention.maps[4, 3])
    assert torch.equal(*maps)


def test_a_word_that_cleaning_takes_away_is_named(
    pixart: PixArtSigmaPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean(texts: list[str], clean_caption: bool = False) -> list[str]:
        texts = [texts] if isinstance(texts, str) else texts
        return [text.replace("@bird", "") if clean_caption else text for text in texts]

    monkeypatch.setattr(pixart, "_text_preprocessing", clean, raising=False)
    with (
        pytest.raises(InputError, match="'bird' in the prompt, got 'a  on grass'"),
        capture(pixart, ["bird"]),
    ):
        run(pixart, "a @bird on grass", 1, clean_caption=True, use_resolution_binning=False)


def test_absent_words_and_words_cut_off_are_named(pixart: PixArtSigmaPipeline) -> None:
    with pytest.raises(InputError, match="'cat' in the prompt"), capture(pixart, ["cat"]):
        run(pixart, BIRD, 1, **OPTIONS)
    with (
        pytest.raises(InputError, match="'bird' within the first 7 tokens of the prompt"),
        capture(pixart, ["bird"]),
    ):
        run(pixart, "the grass and the snow and a bird", 1, max_sequence_length=8, **OPTIONS)


def test_the_matrix_is_that_of_the_layers_of_pixels(pixart: PixArtSigmaPipeline) -> None:
    with all_probabilities(N_PIXELS) as kept:
        run(pixart, TWO, 2, max_sequence_length=N_T5, **OPTIONS)
    assert len(kept) == 2 * 2
    every = EVERY_MATRIX
    with capture(pixart, WANTED, self_attention=True, matrix_strides=every) as attention:
        run(pixart, TWO, 2, max_sequence_length=N_T5, **OPTIONS)
    expected = torch.stack(kept).mean(0)[-2:].mean(1)
    assert (attention.self_matrices[4, 3] - expected).abs().max() < 1e-5
    assert (attention.self_matrices[4, 3] - expected.mT).abs().max() > 1e-4
    assert propagated(attention)[1]["aeroplane"].shape == (4, 3)


def test_a_size_that_would_be_drawn_in_another_aspect_is_refused(
    pixart: PixArtSigmaPipeline,
) -> None:
    with (
        pytest.raises(InputError, match=r"got 64x48, drawn at 288x224 and cropped; pass use_reso"),
        capture(pixart, ["bird"]),
    ):
        run(pixart, BIRD, 1, clean_caption=False)
    assert "classify_height_width_bin" not in vars(pixart.image_processor)
    with capture(pixart, ["bird"]) as attention:
        image = run(pixart, BIRD, 1, clean_caption=False, height=64, width=64)
    assert image.shape == (1, 64, 64, 3)
    assert set(attention.maps) == {(16, 16)}
    assert np.isfinite(aggregate(attention, (64, 64))[0]["bird"]).all()
