"""The English article before a phrase."""

import re

# First letters mislead where the sound differs: "a unicorn", "a ewe", "an hourglass".
CONSONANT_SOUND = re.compile(r"(uni|use|uti|eu|ewe|one\b)", re.IGNORECASE)
VOWEL_SOUND = re.compile(r"([aeiou]|hour|honest|heir)", re.IGNORECASE)


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase, by the sound of its beginning."""
    vowel = VOWEL_SOUND.match(phrase) and not CONSONANT_SOUND.match(phrase)
    return f"{'an' if vowel else 'a'} {phrase}"
