"""Where words stand in a text."""

import re


def spans(text: str, word: str) -> list[tuple[int, int]]:
    """List where a word stands: whole words only, in any case; a word may be several."""
    inner = r"\s+".join(map(re.escape, word.split()))
    return [match.span() for match in re.finditer(rf"(?<!\w){inner}(?!\w)", text, re.IGNORECASE)]
