"""Captions of a file that are like what a vocabulary would say, by TF-IDF (Salton 1988)."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from diffumask.errors import InputError
from diffumask.types import Prompt, Target

from .build import build_for
from .vocabulary import Vocabulary, VocabularyClass
from .words import spans

MAX_WORDS = 50  # of a caption, as Wu et al. 2023 keep them
NEAREST = 10  # captions among which the seed of an item chooses


class Captions:
    """Captions that name a class, found by their likeness to a text."""

    def __init__(self, captions: Sequence[str], entry: VocabularyClass) -> None:
        self.entry = entry
        self.captions = [text for text in captions if _word(text, entry) and _is_short(text)]
        counts = [_terms(caption) for caption in self.captions]
        documents = Counter(term for terms in counts for term in terms)
        self._idf = {term: math.log(len(counts) / number) + 1 for term, number in documents.items()}
        self._index: dict[str, list[tuple[int, float]]] = {}
        for number, terms in enumerate(counts):
            weights = {term: count * self._idf[term] for term, count in terms.items()}
            length = math.hypot(*weights.values())
            for term, weight in weights.items():
                self._index.setdefault(term, []).append((number, weight / length))

    def likeness(self, text: str) -> Float64[np.ndarray, " captions"]:
        """Return the cosine of each caption's TF-IDF vector to that of a text, up to a factor."""
        scores = np.zeros(len(self.captions))
        for term, count in _terms(text).items():
            for number, weight in self._index.get(term, ()):
                scores[number] += count * self._idf[term] * weight
        return scores

    def choose(self, vocabulary: Vocabulary, seed: int) -> Prompt:
        """Take one of the captions most like the prompt that the vocabulary makes of a seed."""
        built = build_for(vocabulary, self.entry, seed)
        nearest = np.argsort(-self.likeness(built.text), kind="stable")[:NEAREST]
        caption = self.captions[int(np.random.default_rng(seed).choice(nearest))]
        word = _word(caption, self.entry)
        named = [one for one in self.entry.sub_classes if spans(caption, one)]
        target = Target(word, self.entry.name, self.entry.class_id)
        return Prompt(caption, (target,), max(named, key=len, default=""))


def read_captions(path: Path) -> list[str]:
    """Read a text file of one caption a line, each taken once; empty lines do not count.

    Raises InputError for a file that cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise InputError(f"expected a text file of captions, got {path}: {reason}") from error
    return list(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))


def _word(text: str, entry: VocabularyClass) -> str:
    """Return the first name of the class that a text has, as it stands there, or nothing."""
    found = (text[slice(*one)] for alias in entry.known_as for one in spans(text, alias)[:1])
    return next(found, "")


def _is_short(text: str) -> bool:
    return len(text.split()) <= MAX_WORDS


def _terms(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))
