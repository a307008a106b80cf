"""Captions of a file that are like what a vocabulary would say."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffumask.errors import InputError
from diffumask.types import Prompt, Target

from .build import build_for
from .ranking import BY_TEXT, Likeness, Ranking
from .vocabulary import Vocabulary, VocabularyClass
from .words import spans

MAX_WORDS = 50  # of a caption, as Wu et al. 2023 keep them
NEAREST = 10  # captions among which the seed of an item chooses
# They tell of something else than a photograph of the whole object.
BANNED = (
    "3d",
    "blur",
    "blurred",
    "cartoon",
    "clip art",
    "clipart",
    "close-up",
    "closeup",
    "coloring",
    "drawing",
    "icon",
    "illustration",
    "interior",
    "logo",
    "painting",
    "poster",
    "render",
    "sculpture",
    "silhouette",
    "sketch",
    "statue",
    "stock",
    "vector",
    "wallpaper",
)
_BANNED = re.compile(rf"(?<!\w)(?:{'|'.join(BANNED)})(?!\w)", re.IGNORECASE)


class Captions:
    """Captions that name a class, found by their likeness to a text."""

    def __init__(
        self, captions: Sequence[str], entry: VocabularyClass, ranking: Ranking = BY_TEXT
    ) -> None:
        self.entry = entry
        self.captions = [text for text in captions if _is_fit(text, entry)]
        self._ranking = ranking

    @cached_property
    def _likeness(self) -> Likeness:
        return self._ranking.fit(self.captions)

    def likeness(self, text: str) -> Float[np.ndarray, " captions"]:
        """Return how like a text each caption is, as the ranking has it."""
        return self._likeness(text)

    def choose(self, vocabulary: Vocabulary, seed: int) -> Prompt:
        """Take one of the captions most like the prompt that the vocabulary makes of a seed."""
        query = self._ranking.query(build_for(vocabulary, self.entry, seed), self.entry)
        nearest = np.argsort(-self.likeness(query), kind="stable")[:NEAREST]
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


def banned_in(caption: str) -> list[str]:
    """List the banned words of a caption."""
    return _BANNED.findall(caption)


def _is_fit(text: str, entry: VocabularyClass) -> bool:
    if not _word(text, entry) or len(text.split()) > MAX_WORDS:
        return False
    own = " ".join((*entry.known_as, *entry.sub_classes))  # "painting" is a class too
    return all(spans(own, word) for word in banned_in(text))


def _word(text: str, entry: VocabularyClass) -> str:
    """Return the first name of the class that a text has, as it stands there, or nothing."""
    found = (text[slice(*one)] for alias in entry.sought for one in spans(text, alias)[:1])
    return next(found, "")
