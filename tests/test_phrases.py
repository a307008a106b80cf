"""Which words of a prompt compete with its targets, and its text without one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.sampling.phrases import FUNCTION_WORDS, phrases, rivals, text_without
from diffumask.types import Prompt, Target


def prompt(text: str, *words: str, context: str = "") -> Prompt:
    targets = tuple(Target(word, word, i) for i, word in enumerate(words, start=1))
    return Prompt(text, targets, "", context)


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("a photo of a duck bird and a cat on grass", ["bird"], ("cat",)),
        ("a photo of a duck bird and a cat on grass", ["bird", "cat"], ()),
        ("a photo of a bird, a dog and a Potted plant", ["potted plant"], ("bird", "dog")),
        ("A man riding a horse with a red hat in the park", ["man"], ("horse", "red hat")),
        ("cats and dogs", ["cats"], ("dogs",)),
        ("two dogs and a dog", ["dog"], ()),  # its plural is no rival
        ("a tv monitor by a brick wall", ["tv monitor"], ()),
        ("a bird", ["bird"], ()),
    ],
)
def test_things_that_are_named_and_not_asked_for_are_rivals(
    text: str, words: list[str], expected: tuple[str, ...]
) -> None:
    assert rivals(prompt(text, *words)) == expected


@pytest.mark.parametrize("style", [", natural light", ", sharp focus, 8k", ", highly detailed"])
def test_words_of_style_are_no_things(style: str) -> None:
    assert rivals(prompt(f"a wide photo of a cat on a sofa{style}", "cat")) == ()


def test_the_place_is_ground_wherever_the_prompt_says_it_is() -> None:
    text = "a photo of a cat beside a lamp and a dog"
    assert rivals(prompt(text, "cat")) == ("dog",)  # the last place
    assert rivals(prompt(text, "cat", context="and a dog")) == ("lamp",)


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a photo of a duck bird on grass", "bird", "a photo of on grass"),
        ("a photo of a duck bird and a cat on grass", "bird", "a photo of a cat on grass"),
        (
            "a photo of a cat and an old tv monitor at night",
            "tv monitor",
            "a photo of a cat at night",
        ),
        ("bird", "bird", ""),
        ("An owl bird and a bird", "bird", ""),
    ],
)
def test_a_text_without_a_target_lacks_its_whole_phrase(
    text: str, word: str, expected: str
) -> None:
    one = prompt(text, word)
    assert text_without(one, one.targets[0]) == expected


WORDS = st.sampled_from([*sorted(FUNCTION_WORDS), "cat", "dog", "brick", "wall", ",", "!", "ox"])


@given(st.lists(WORDS, max_size=12))
def test_phrases_are_parts_of_the_text_and_hold_no_function_word(words: list[str]) -> None:
    text = " ".join(words)
    for one in phrases(text):
        assert text[one.start : one.stop] == one.text
        assert not FUNCTION_WORDS & set(one.text.split())


@given(st.lists(WORDS, max_size=12))
def test_no_rival_is_a_target_and_no_target_stays_in_the_text_without_it(words: list[str]) -> None:
    one = prompt(" ".join([*words, "a cat"]), "cat")
    assert not any("cat" in rival.split() for rival in rivals(one))
    assert "cat" not in text_without(one, one.targets[0]).split()
