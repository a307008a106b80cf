"""Capture in Kolors: ChatGLM pads on the left, and its padding takes part in attention."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from conftest import WORDS, random_unet, random_vae
from diffusers import EulerDiscreteScheduler, KolorsImg2ImgPipeline, KolorsPipeline
from diffusers.pipelines.kolors import ChatGLMModel, ChatGLMTokenizer
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig
from random_transformers import SPACE
from slow_reference import BIRD, PLANE, SlowReference, run

from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.families import network_of
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric

TWO = [BIRD, PLANE]
WANTED = [["bird"], ["potted plant", "aeroplane"]]
WIDTH, N_ROW = 32, 256  # the pipeline does not pass a length on
FILLED = "on " * N_ROW


@pytest.fixture(scope="module")
def chatglm_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatGLMTokenizer:
    prefix: Path = tmp_path_factory.mktemp("chatglm") / "tokenizer"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS.replace("\n", " "), "abcdefghijklmnopqrstuvwxyz ,."]),
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=160,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return ChatGLMTokenizer(f"{prefix}.model")


@pytest.fixture
def kolors(chatglm_tokenizer: ChatGLMTokenizer) -> KolorsPipeline:
    torch.manual_seed(0)
    text = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=chatglm_tokenizer.vocab_size,
        hidden_size=WIDTH,
        ffn_hidden_size=WIDTH,
        kv_channels=8,
        num_attention_heads=4,
        seq_length=N_ROW,
        original_rope=True,
    )
    encoder = ChatGLMModel(text, empty_init=False).eval()
    for name, weight in encoder.named_parameters():
        if "layernorm" in name:
            torch.nn.init.ones_(weight)
    unet = random_unet(
        {
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "attention_head_dim": [2, 2, 4],
            "use_linear_projection": True,
            "cross_attention_dim": 24,
            "encoder_hid_dim": WIDTH,
            "encoder_hid_dim_type": "text_proj",
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + WIDTH,
        }
    )
    parts: dict[str, Any] = {
        "vae": random_vae(),
        "text_encoder": encoder,
        "tokenizer": chatglm_tokenizer,
        "unet": unet,
        "scheduler": EulerDiscreteScheduler(),
    }
    return KolorsPipeline(**parts)


def places(tokenizer: ChatGLMTokenizer, text: str, word: str) -> list[int]:
    """Count a word's tokens from the end of the row, where the text ends."""
    pieces = tokenizer.tokenize(text)
    assert "".join(pieces).replace(SPACE, " ") == f" {text}"
    stops = list(accumulate(map(len, pieces)))
    start = text.index(word) + 1
    return [
        N_ROW - len(pieces) + i
        for i, (piece, stop) in enumerate(zip(pieces, stops, strict=True))
        if stop > start and stop - len(piece) < start + len(word)
    ]


def check_words(pipe: Any, texts: list[str], words: list[list[str]], **options: Any) -> None:
    plain = run(pipe, texts, 2, **options)
    slow = SlowReference(pipe)
    with slow.watching(), capture(pipe, words) as attention:
        captured = run(pipe, texts, 2, **options)
    assert np.array_equal(plain, captured)
    assert set(attention.maps) == slow.sizes() != set()
    n_images = options.get("num_images_per_prompt", 1)
    of_images = [pair for pair in zip(texts, words, strict=True) for _ in range(n_images)]
    for size_hw, maps in attention.maps.items():
        for image, (text, wanted) in enumerate(of_images):
            for word in wanted:
                columns = attention.columns(image, word)
                for column, place in zip(columns, places(pipe.tokenizer, text, word), strict=True):
                    expected = slow.map(size_hw, image - len(of_images), place)
                    beside = slow.map(size_hw, image - len(of_images), place - 1)
                    assert (maps[image, column] - expected).abs().max() < 1e-5
                    assert (maps[image, column] - beside).abs().max() > 1e-5


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("n_images", [1, 2])
def test_words_are_exact(kolors: KolorsPipeline, guidance_scale: float, n_images: int) -> None:
    options = {"negative_prompt": ["sand", "snow"], "guidance_scale": guidance_scale}
    check_words(kolors, TWO, WANTED, num_images_per_prompt=n_images, **options)


def test_an_image_as_input(kolors: KolorsPipeline) -> None:
    parts = kolors.components
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    pipe = KolorsImg2ImgPipeline(**parts)
    check_words(pipe, [BIRD], WANTED[:1], image=image, strength=0.99)


def test_words_stand_at_the_end_of_the_row(chatglm_tokenizer: ChatGLMTokenizer) -> None:
    row = chatglm_tokenizer(BIRD, padding="max_length", max_length=N_ROW)["input_ids"]
    ids = [row[place] for place in places(chatglm_tokenizer, BIRD, "grass")]
    spelled = "".join(chatglm_tokenizer.convert_ids_to_tokens(ids))
    assert spelled.strip(SPACE) == "grass"
    assert row[0] == chatglm_tokenizer.pad_token_id
    start = row.index(chatglm_tokenizer.get_command("sop"))
    assert start == N_ROW - len(chatglm_tokenizer.tokenize(BIRD)) - 1


def test_absent_words_and_words_cut_off_are_named(kolors: KolorsPipeline) -> None:
    with pytest.raises(InputError, match="'cat' in the prompt"), capture(kolors, ["cat"]):
        run(kolors, BIRD, 1)
    with (
        pytest.raises(InputError, match="'bird' within the first 254 tokens of the prompt"),
        capture(kolors, ["bird"]),
    ):
        run(kolors, f"{FILLED}bird", 1)


def test_a_row_without_padding_is_counted_from_its_start(kolors: KolorsPipeline) -> None:
    text = f"bird {FILLED}"
    found = network_of(kolors.unet, kolors).positions(text, "bird", {"max_sequence_length": N_ROW})
    assert found[-1] - found[0] == len(found) - 1
    row = kolors.tokenizer(text, max_length=N_ROW, truncation=True)["input_ids"]
    spelled = kolors.tokenizer.convert_ids_to_tokens([row[place] for place in found])
    assert "".join(spelled).strip(SPACE) == "bird"
    with capture(kolors, ["bird"]) as attention:
        run(kolors, text, 1)
    assert attention.words == (("bird",),)


def test_the_matrix_is_that_of_the_layers_of_pixels(kolors: KolorsPipeline) -> None:
    slow = SlowReference(kolors, "attn1")
    every = {"self_attention": True, "matrix_strides": EVERY_MATRIX}
    with slow.watching(), capture(kolors, WANTED, **every) as attention:
        run(kolors, TWO, 2)
    ((size_hw, matrices),) = attention.self_matrices.items()
    kept = [one.probabilities[-2:] for one in slow.kept if one.size_hw == size_hw]
    expected = torch.stack(kept).mean(0).mean(1)
    assert (matrices - expected).abs().max() < 1e-5
