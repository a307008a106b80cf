"""Capture in Sana: Gemma with an instruction before the prompt, and no matrix of the pixels."""

import copy
import inspect
from typing import Any

import pytest
import torch
from diffusers import SanaPipeline
from joint_reference import N_T5, check
from random_transformers import SPACE, make_gemma_tokenizer, make_sana
from slow_reference import BIRD, HALVES, PLANE, run
from transformers import GemmaTokenizer

from diffumask.attention.capture import capture
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric

TWO = [BIRD, PLANE]
WANTED = [["bird"], ["potted plant", "aeroplane"]]
SIZE: dict[str, Any] = {"height": 128, "width": 96, "use_resolution_binning": False}
N_PIXELS = 12  # of 4x3 latents
INSTRUCTION: list[str] = (
    inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
)
SHORT = ["A bird sleeping on grass, an aeroplane:", "User Prompt: "]


@pytest.fixture(scope="module")
def gemma_tokenizer() -> GemmaTokenizer:
    return make_gemma_tokenizer(INSTRUCTION)


@pytest.fixture
def sana(gemma_tokenizer: GemmaTokenizer) -> SanaPipeline:
    return make_sana(gemma_tokenizer)


def places(pipe: SanaPipeline, text: str, word: str, instruction: list[str]) -> list[int]:
    """Count a word's tokens from the end of the prompt's, as diffusers keeps the end of a row."""
    prefix, text = "\n".join(instruction), text.strip().lower()
    ids = pipe.tokenizer(prefix + text)["input_ids"]
    start = text.index(word)
    through = len(pipe.tokenizer(prefix + text[: start + len(word)])["input_ids"])
    before = len(pipe.tokenizer((prefix + text[:start]).rstrip())["input_ids"])
    n_instruction = len(pipe.tokenizer(prefix)["input_ids"]) if instruction else 2
    assert ids[:through] == pipe.tokenizer(prefix + text[: start + len(word)])["input_ids"]
    row = n_instruction + N_T5 - 2  # of which 0 is kept and the last N_T5 - 1
    return [place - row + N_T5 for place in range(before, through)]


def check_words(pipe: SanaPipeline, instruction: list[str] = SHORT, **options: Any) -> Any:
    n_texts = 2 if options.get("num_images_per_prompt", 1) == 1 else 1
    return check(
        pipe,
        WANTED[-n_texts:],
        TWO[-n_texts:],
        slice(0, N_PIXELS),
        lambda text, word: places(pipe, text, word, instruction),
        n_keys=N_T5,
        n_queries=N_PIXELS,
        per_evaluation=2,
        complex_human_instruction=instruction,
        **(SIZE | options),
    )


@pytest.mark.parametrize("guidance_scale", [1.0, 4.5])
@pytest.mark.parametrize("n_images", [1, 2])
def test_words_are_exact(sana: SanaPipeline, guidance_scale: float, n_images: int) -> None:
    attention = check_words(
        sana,
        guidance_scale=guidance_scale,
        num_images_per_prompt=n_images,
        negative_prompt="sand",
    )
    assert attention.n_heads == {(4, 3): 4}


@pytest.mark.parametrize("instruction", [INSTRUCTION, [], ["Draw:"]])
def test_words_are_found_behind_any_instruction(sana: SanaPipeline, instruction: list[str]) -> None:
    check_words(sana, instruction)


def test_the_first_word_may_take_the_space_of_the_instruction(sana: SanaPipeline) -> None:
    tokens = [sana.tokenizer.tokenize(text) for text in ("Prompt: ", "Prompt: a bird")]
    assert tokens[0][-1] not in tokens[1]
    assert places(sana, BIRD, "a", SHORT) == [1]
    with capture(sana, ["a", "bird"]) as attention:
        run(sana, BIRD, 1, complex_human_instruction=SHORT, **SIZE)
    assert attention.columns(0, "a") == (0,)


@pytest.mark.parametrize(
    "config", [{"qk_norm": "rms_norm_across_heads"}, {"timestep_scale": 0.001}]
)
def test_norms_and_scaled_timesteps(
    gemma_tokenizer: GemmaTokenizer, config: dict[str, Any]
) -> None:
    check_words(make_sana(gemma_tokenizer, **config))


@pytest.mark.parametrize(("dtype", "bound"), HALVES)
def test_half_precision(sana: SanaPipeline, dtype: str, bound: float) -> None:
    half = SanaPipeline(**copy.deepcopy(sana.components))
    half.to(dtype=getattr(torch, dtype))
    check_words(half, bound=bound)


def test_a_word_joined_to_the_instruction_is_refused(sana: SanaPipeline) -> None:
    assert sana.tokenizer.tokenize("a grass") == ["a", f"{SPACE}grass"]
    assert len(sana.tokenizer.tokenize("a gra")) > 2
    with (
        pytest.raises(InputError, match="word 'ss' in tokens of its own, got it joined"),
        capture(sana, ["ss"]),
    ):
        run(sana, "ss on snow", 1, complex_human_instruction=["a gra"], **SIZE)


def test_absent_words_and_words_cut_off_are_named(sana: SanaPipeline) -> None:
    with (
        pytest.raises(InputError, match="'sleeping' in the prompt, got 'a bird on grass'"),
        capture(sana, ["sleeping"]),  # a word of the instruction
    ):
        run(sana, BIRD, 1, complex_human_instruction=SHORT, **SIZE)
    text = "grass and snow and sand and a bird"
    n_tokens = len(sana.tokenizer.tokenize(f" {text}"))
    options = {"complex_human_instruction": SHORT, "max_sequence_length": n_tokens + 1}
    with capture(sana, ["bird"]):
        run(sana, text, 1, **options, **SIZE)
    options["max_sequence_length"] -= 1
    with (
        pytest.raises(InputError, match=f"within the first {n_tokens - 1} tokens of the prompt"),
        capture(sana, ["bird"]),
    ):
        run(sana, text, 1, **options, **SIZE)


def test_there_is_no_matrix(sana: SanaPipeline) -> None:
    with (
        pytest.raises(InputError, match="network that has none, as its is linear; leave out"),
        capture(sana, ["bird"], self_attention=True),
    ):
        pass


def test_a_size_that_would_be_drawn_in_another_aspect_is_refused(sana: SanaPipeline) -> None:
    with (
        pytest.raises(InputError, match=r"got 64x48, drawn at .* and cropped"),
        capture(sana, ["bird"]),
    ):
        run(sana, BIRD, 1)
