"""Prompts that go on with what a language model wrote after them."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from diffumask.types import Prompt

from .vocabulary import Vocabulary, VocabularyClass
from .words import spans


def expand(
    prompt: Prompt, written: Iterable[str], vocabulary: Vocabulary, fits: Callable[[str], bool]
) -> Prompt | None:
    """Add the first of some continuations that suits a prompt, or return None if none does.

    A continuation counts up to the end of its line, and loses words at its end until the whole
    fits. It must not go on inside the last word, nor name a class of the vocabulary that the
    prompt does not label, whose pixels would be called background.
    """
    labelled = {target.class_name for target in prompt.targets}
    others = [entry for entry in vocabulary.classes if entry.name not in labelled]
    for text in written:
        words = _one_line(text).split()
        # What stands before a space goes on in the last word of the prompt: "grass" + "hopper".
        glued = words and not text[:1].isspace() and not re.match(r"[,;:.]", text)
        if glued or _names(" ".join(words), others):
            continue
        while words and not fits(_joined(prompt.text, words)):
            words.pop()
        if any(re.search(r"\w", word) for word in words):
            return replace(prompt, text=_joined(prompt.text, words))
    return None


def _one_line(text: str) -> str:
    """Return the text up to the first sign that cannot be printed, such as the end of a line."""
    signs = (index for index, sign in enumerate(text) if not sign.isprintable() or sign == "\ufffd")
    return text[: next(signs, len(text))]


def _names(text: str, entries: Sequence[VocabularyClass]) -> bool:
    aliases = (alias for entry in entries for alias in entry.known_as)
    return any(spans(text, alias) or spans(text, f"{alias}s") for alias in aliases)


def _joined(text: str, words: Sequence[str]) -> str:
    gap = "" if re.match(r"[,;:.]", words[0]) else " "
    return f"{text}{gap}{' '.join(words)}".rstrip(" ,;:-")
