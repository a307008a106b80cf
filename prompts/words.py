"""Where words stand in a text."""

from diffumask.types import word_pattern


def spans(text: str, word: str) -> list[tuple[int, int]]:
    """List where a word stands: whole words only, in any case; a word may be several."""
    return [match.span() for match in word_pattern(word).finditer(text)]
