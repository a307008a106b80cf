"""How captions are put in order by their likeness to a text."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from diffumask.articles import with_article
from diffumask.types import Prompt

from .vocabulary import VocabularyClass

Likeness = Callable[[str], Float[np.ndarray, " captions"]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """A likeness of captions to texts.

    `fit` makes the likeness of some captions, `query` the text that they are compared to, of the
    prompt that the vocabulary would build, and `identity` is what a dataset says of the ranking.
    """

    fit: Callable[[Sequence[str]], Likeness]
    query: Callable[[Prompt, VocabularyClass], str]
    identity: Mapping[str, Any] = field(default_factory=dict)


def photo_of(prompt: Prompt, entry: VocabularyClass) -> str:
    """Name the sub-class and the class alone, as Wu et al. 2023 ask for captions."""
    phrase = " ".join(filter(None, [prompt.sub_class, entry.word]))
    return f"Photo of {with_article(phrase) if entry.has_article else phrase}"


def tf_idf(captions: Sequence[str]) -> Likeness:
    """Return the cosine of each caption's TF-IDF vector to that of a text, up to a factor.

    Salton 1988.
    """
    counts = [_terms(caption) for caption in captions]
    documents = Counter(term for terms in counts for term in terms)
    idf = {term: math.log(len(counts) / number) + 1 for term, number in documents.items()}
    index: dict[str, list[tuple[int, float]]] = {}
    for number, terms in enumerate(counts):
        weights = {term: count * idf[term] for term, count in terms.items()}
        length = math.hypot(*weights.values())
        for term, weight in weights.items():
            index.setdefault(term, []).append((number, weight / length))

    def likeness(text: str) -> Float[np.ndarray, " captions"]:
        scores = np.zeros(len(captions))
        for term, count in _terms(text).items():
            for number, weight in index.get(term, ()):
                scores[number] += count * idf[term] * weight
        return scores

    return likeness


def _terms(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


BY_TEXT = Ranking(tf_idf, lambda prompt, _: prompt.text)
