from pathlib import Path
from typing import Any

import pytest
from transformers import BatchEncoding, CLIPTokenizer, PreTrainedTokenizerBase

from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError
from diffumask.models import MODELS
from diffumask.prompts.vocabulary import load_vocabulary

REAL_VOCABULARY = Path(__file__).parents[2] / "shared" / "data" / "clip_tokenizer"


class SlowCLIPTokenizer(CLIPTokenizer):
    """Behaves as the pure Python tokenizers do: no character offsets."""

    @property
    def is_fast(self) -> bool:
        return False

    def __call__(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        if kwargs.get("return_offsets_mapping"):
            raise NotImplementedError("return_offset_mapping is not available")
        return super().__call__(*args, **kwargs)


@pytest.fixture(scope="session", params=[CLIPTokenizer, SlowCLIPTokenizer], ids=["fast", "slow"])
def either(request: pytest.FixtureRequest, tokenizer_folder: Path) -> PreTrainedTokenizerBase:
    return request.param.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="session")
def real_tokenizer() -> CLIPTokenizer:
    if not REAL_VOCABULARY.is_dir():
        pytest.skip("the vocabulary of CLIP does not lie beside the checkout")
    return CLIPTokenizer.from_pretrained(REAL_VOCABULARY)


def spelled(tokenizer: PreTrainedTokenizerBase, text: str, word: str) -> list[str]:
    ids = tokenizer(text)["input_ids"]
    positions = word_positions(tokenizer, text, word)
    return [str(tokenizer.convert_ids_to_tokens(ids[position])) for position in positions]


@pytest.mark.parametrize(
    ("text", "word", "positions"),
    [
        ("a photo of a bird", "bird", (5,)),
        ("bird", "bird", (1,)),
        ("A BIRD on grass", "bird", (2,)),
        ("a bird on grass", "BIRD", (2,)),
        ("a bird and a bird", "bird", (2, 5)),
        ("bird bird", "bird", (1, 2)),
        ("a potted plant in sand", "potted plant", (2, 3)),
        ("a  potted\n plant", "potted plant", (2, 3)),
        ("a bird, high in snow", "bird", (2,)),
        ("a (bird)", "bird", (3,)),
        ("one bird's sand", "bird", (2,)),
        ("two sheep, a bird.", "bird", (5,)),
    ],
)
def test_positions_count_from_the_start_token(
    either: PreTrainedTokenizerBase, text: str, word: str, positions: tuple[int, ...]
) -> None:
    assert word_positions(either, text, word) == positions


def test_a_word_of_several_tokens_has_all_their_positions(
    either: PreTrainedTokenizerBase,
) -> None:
    text = "an aeroplane and a bird and an aeroplane"
    n_tokens = len(either.tokenize("aeroplane"))
    first = tuple(range(2, 2 + n_tokens))
    second = tuple(position + n_tokens + 5 for position in first)

    assert n_tokens > 1
    assert word_positions(either, text, "aeroplane") == first + second
    assert word_positions(either, text, "bird") == (2 + n_tokens + 2,)


def test_characters_of_several_bytes_shift_nothing(either: PreTrainedTokenizerBase) -> None:
    text = "ein Vögelchen 🦜 and a bird"
    assert spelled(either, text, "bird") == ["bird</w>"]
    assert "".join(spelled(either, text, "vögelchen")) == "vÃ¶gelchen</w>"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a caterpillar on grass", "cat"),
        ("two birds", "bird"),
        ("a bird", "sheep"),
        ("a potted bird and a plant", "potted plant"),
        ("", "bird"),
    ],
)
def test_a_word_that_is_not_in_the_text_is_refused(
    either: PreTrainedTokenizerBase, text: str, word: str
) -> None:
    with pytest.raises(InputError, match=f"'{word}' in the prompt"):
        word_positions(either, text, word)


@pytest.mark.parametrize("word", ["", "  "])
def test_an_empty_word_is_refused(tokenizer: CLIPTokenizer, word: str) -> None:
    with pytest.raises(InputError, match="expected a word"):
        word_positions(tokenizer, "a bird", word)


def test_the_last_position_that_the_encoder_sees_is_allowed(
    either: PreTrainedTokenizerBase,
) -> None:
    assert word_positions(either, "a " * 74 + "bird", "bird") == (75,)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a " * 75 + "bird", id="whole"),
        pytest.param("a bird " + "a " * 75 + "bird", id="second occurrence"),
    ],
)
def test_a_word_cut_off_at_the_limit_is_named(either: PreTrainedTokenizerBase, text: str) -> None:
    with pytest.raises(InputError, match=r"'bird' within the first 75 tokens .* at token 7[68]"):
        word_positions(either, text, "bird")


def test_a_word_cut_off_in_its_middle_is_named(either: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="aeroplane"):
        word_positions(either, "a " * 73 + "aeroplane", "aeroplane")


def test_offsets_find_a_word_inside_a_token(real_tokenizer: CLIPTokenizer) -> None:
    assert word_positions(real_tokenizer, "a bird ...", ".") == (3,)


def test_without_offsets_a_word_inside_a_token_is_refused(tokenizer_folder: Path) -> None:
    slow = SlowCLIPTokenizer.from_pretrained(tokenizer_folder)
    with pytest.raises(InputError, match="across its border"):
        word_positions(slow, "a bird ...", ".")


@pytest.mark.parametrize(
    ("word", "tokens"),
    [
        ("aeroplane", ["aerop", "lane</w>"]),
        ("tvmonitor", ["tv", "monitor</w>"]),
        ("potted plant", ["potted</w>", "plant</w>"]),
    ],
)
def test_the_tokens_of_clip(real_tokenizer: CLIPTokenizer, word: str, tokens: list[str]) -> None:
    text = f"a photo of a {word}, high resolution"
    assert spelled(real_tokenizer, text, word) == tokens
    assert word_positions(real_tokenizer, text, word) == (5, 6)


def test_the_tokens_of_the_built_in_model() -> None:
    folder = Path(MODELS["tiny"].source) / "tokenizer"
    if not folder.is_dir():
        pytest.skip("the built-in model is not there yet")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for entry in load_vocabulary("tiny").classes:
        pieces = spelled(tokenizer, f"a photo of a {entry.word}, high resolution", entry.word)
        assert "".join(pieces).replace("</w>", " ").split() == entry.word.split()
