"""Which positions of the text encoder's sequence spell a word of the prompt."""

from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from diffumask.errors import InputError
from diffumask.types import word_pattern


def word_positions(
    tokenizer: PreTrainedTokenizerBase, text: str, word: str, max_length: int | None = None
) -> tuple[int, ...]:
    """Return the positions of all tokens of every occurrence of a word, in ascending order.

    Position 0 is the start token if the tokenizer has one, as CLIP's and unlike T5's. The text is
    cut at `max_length` tokens with the special ones, by default the tokenizer's own. Whole words
    only ("cat" is not in "caterpillar"), in any case; a word may be several ("potted plant").
    Raises `InputError` if the word is absent, or if the text encoder does not see all of it
    because the text is too long.
    """
    spans = list(_character_spans(text, word))
    if not spans:
        raise InputError(
            f"expected the word {word!r} in the prompt, got {text!r}; name a word of the prompt"
        )
    align = _by_offsets if tokenizer.is_fast else _by_prefixes
    positions = align(tokenizer, text, spans)

    end_position = (max_length or tokenizer.model_max_length) - 1
    if positions[-1] >= end_position:
        n_before = tokenizer.num_special_tokens_to_add() - 1
        raise InputError(
            f"expected the word {word!r} within the first {end_position - n_before} tokens of the"
            f" prompt, got it at token {positions[-1] + 1 - n_before}; shorten the prompt"
        )
    return positions


def _character_spans(text: str, word: str) -> Iterator[tuple[int, int]]:
    if not word.split():
        raise InputError(f"expected a word, got {word!r}")
    return (match.span() for match in word_pattern(word).finditer(text))


def _by_offsets(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: list[tuple[int, int]]
) -> tuple[int, ...]:
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return tuple(
        position
        for position, (token_start, token_stop) in enumerate(offsets)
        if any(token_start < stop and start < token_stop for start, stop in spans)
    )


def _by_prefixes(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: list[tuple[int, int]]
) -> tuple[int, ...]:
    """Do the same for tokenizers without character offsets, by the length of tokenized prefixes."""

    def tokens(part: str) -> list[int]:
        return tokenizer(part, verbose=False)["input_ids"][:-1]  # with start, without end token

    whole = tokens(text)
    positions: list[int] = []
    for span in spans:
        before, through = (tokens(text[:index]) for index in span)
        if whole[: len(through)] != through or through[: len(before)] != before:
            raise InputError(
                f"expected tokens that end with the word {text[slice(*span)]!r} in {text!r}, got a"
                " token across its border; put spaces around the word or use a fast tokenizer"
            )
        positions += range(len(before), len(through))
    return tuple(positions)
