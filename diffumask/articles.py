"""English articles, and words that are counted."""

import re

# First letters mislead where the sound differs: "a unicorn", "a ewe", "an hourglass".
CONSONANT_SOUND = re.compile(r"(uni|use|uti|eu|ewe|one\b)", re.IGNORECASE)
VOWEL_SOUND = re.compile(r"([aeiou]|hour|honest|heir)", re.IGNORECASE)


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase, by the sound of its beginning."""
    vowel = VOWEL_SOUND.match(phrase) and not CONSONANT_SOUND.match(phrase)
    return f"{'an' if vowel else 'a'} {phrase}"


def counted(count: int, noun: str) -> str:
    """Put a number before a noun, which has its plural unless the number is 1: "2 items"."""
    if count == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count} {noun}{ending}"
