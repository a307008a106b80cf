"""Which positions of the text encoder's sequence spell a word of the prompt."""

from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from diffumask.errors import InputError
from diffumask.types import word_pattern

Span = tuple[int, int]  # of characters


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
    spans = spans_of(text, word)
    align = _by_offsets if tokenizer.is_fast else _by_prefixes
    positions = align(tokenizer, text, spans)

    n_after = _n_after(tokenizer)
    end_position = (max_length or tokenizer.model_max_length) - n_after
    check_seen(word, positions, end_position, tokenizer.num_special_tokens_to_add() - n_after)
    return positions


def spans_of(text: str, word: str) -> list[Span]:
    """Return the characters of every occurrence of a word. Raises `InputError` if it is absent."""
    if not word.split():
        raise InputError(f"expected a word, got {word!r}")
    spans = [match.span() for match in word_pattern(word).finditer(text)]
    if not spans:
        raise InputError(
            f"expected the word {word!r} in the prompt, got {text!r}; name a word of the prompt"
        )
    return spans


def check_seen(word: str, positions: Sequence[int], end_position: int, n_before: int) -> None:
    """Raise `InputError` for positions past the end of what the text encoder sees.

    The prompt starts at `n_before`.
    """
    if positions[-1] >= end_position:
        raise InputError(
            f"expected the word {word!r} within the first {end_position - n_before} tokens of the"
            f" prompt, got it at token {positions[-1] + 1 - n_before}; shorten the prompt"
        )


def tokens_at(offsets: Iterable[Span], spans: Sequence[Span]) -> tuple[int, ...]:
    """Return the positions of the tokens that have a character in some of the spans."""
    return tuple(
        position
        for position, (token_start, token_stop) in enumerate(offsets)
        if any(token_start < stop and start < token_stop for start, stop in spans)
    )


def _by_offsets(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[Span]
) -> tuple[int, ...]:
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return tokens_at(offsets, spans)


def _by_prefixes(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[Span]
) -> tuple[int, ...]:
    """Do the same for tokenizers without character offsets, by the length of tokenized prefixes."""

    n_after = _n_after(tokenizer)

    def tokens(part: str) -> list[int]:
        ids = tokenizer(part, verbose=False)["input_ids"]
        return ids[: len(ids) - n_after]  # with start, without end token

    whole = tokens(text)
    positions: list[int] = []
    for start, stop in spans:
        through, before = tokens(text[:stop]), text[:start]
        # A space before the word is a token, or a part of the word's first.
        starts = [
            len(one) for one in map(tokens, (before, before.rstrip())) if _starts(through, one)
        ]
        if not starts or not _starts(whole, through):
            raise InputError(
                f"expected tokens that end with the word {text[start:stop]!r} in {text!r}, got a"
                " token across its border; put spaces around the word or use a fast tokenizer"
            )
        positions += range(starts[0], len(through))
    return tuple(positions)


def _starts(ids: Sequence[int], first: Sequence[int]) -> bool:
    return ids[: len(first)] == first


def _n_after(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return 1 for a tokenizer that ends each text with a token of its own, else 0."""
    return int(tokenizer("")["input_ids"][-1:] == [tokenizer.eos_token_id])
