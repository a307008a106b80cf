"""Which words of a prompt name things beside its targets, by a small rule that needs no tagger.

A phrase is a run of words between function words and punctuation ("brick wall"). It names a thing
if an article, a number or "and" stands before it, unless "of" follows ("a photo of"). A phrase
that holds a target's word belongs to that object ("ginger cat"), and the place belongs to the
ground: the prompt's context or, without one, the phrase after the last preposition of place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diffumask.types import Prompt, Target, word_pattern

DETERMINERS = frozenset(
    {"a", "an", "the", "this", "that", "these", "those", "some", "several", "many", "both"}
    | {"one", "two", "three", "four", "five", "six"}
    | {"his", "her", "its", "their", "my", "your", "our"}
)
PLACE = frozenset(
    {"in", "on", "at", "by", "near", "under", "over", "above", "below", "behind", "beside"}
    | {"inside", "outside", "among", "between", "through", "across", "along", "around", "against"}
)
JOINS = frozenset({"and", "or"})
OTHERS = frozenset(
    {"of", "with", "without", "to", "from", "into", "onto", "upon", "for", "as", "while", "next"}
    | {"is", "are", "was", "were", "be", "being", "who", "which", "where", "there", "it"}
)
FUNCTION_WORDS = DETERMINERS | PLACE | JOINS | OTHERS
PLURAL = "(?:e?s)?"
TOKEN = re.compile(r"[\w'-]+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A run of words: where it stands in the text, and the words before and after it."""

    text: str
    start: int
    stop: int
    before: str
    after: str

    @property
    def names_a_thing(self) -> bool:
        """Whether it is introduced as a thing is."""
        return self.before in DETERMINERS | JOINS and self.after != "of"

    def holds(self, word: str) -> bool:
        """Whether a word is part of it."""
        return bool(word_pattern(word, PLURAL).search(self.text))


def rivals(prompt: Prompt) -> tuple[str, ...]:
    """List the phrases of a prompt that name things which are none of its targets, in order.

    Empty for a text that names nothing else.
    """
    found = phrases(prompt.text)
    place = _place(prompt, found)
    chosen = [
        one.text
        for one in found
        if one.names_a_thing
        and one not in place
        and not any(one.holds(target.word) for target in prompt.targets)
    ]
    return tuple(dict.fromkeys(chosen))


def text_without(prompt: Prompt, target: Target) -> str:
    """Return the text of a prompt without the phrases of one target and their articles."""
    text = prompt.text
    for one in reversed([one for one in phrases(text) if one.holds(target.word)]):
        head, tail = text[: one.start].rstrip(), text[one.stop :].lstrip()
        head = re.sub(rf"(?:^|\s)(?:{'|'.join(DETERMINERS)})$", "", head, flags=re.IGNORECASE)
        joined = re.sub(r"(?:^|\s+)and$", "", head, flags=re.IGNORECASE)
        if joined == head:
            tail = re.sub(r"^and\s+", "", tail, flags=re.IGNORECASE)
        text = f"{joined.rstrip()} {tail}".strip()
    return text


def phrases(text: str) -> list[Phrase]:
    """List the phrases of a text in order."""
    tokens = list(TOKEN.finditer(text))
    words = [token.group().lower() for token in tokens]
    ends = [not word[0].isalnum() or word in FUNCTION_WORDS for word in words]
    found, start = [], 0
    while start < len(words):
        if ends[start]:
            start += 1
            continue
        stop = next((i for i in range(start, len(words)) if ends[i]), len(words))
        first, last = tokens[start].start(), tokens[stop - 1].end()
        before = words[start - 1] if start else ""
        after = words[stop] if stop < len(words) else ""
        found.append(Phrase(text[first:last], first, last, before, after))
        start = stop
    return found


def _place(prompt: Prompt, found: Sequence[Phrase]) -> list[Phrase]:
    """Return the phrases of the place."""
    at = prompt.text.find(prompt.context) if prompt.context else -1
    if at >= 0:
        return [one for one in found if at <= one.start < at + len(prompt.context)]
    last = max(
        (match.start() for match in TOKEN.finditer(prompt.text) if match.group().lower() in PLACE),
        default=len(prompt.text),
    )
    after = [one for one in found if one.start > last]
    return after[:1]
