"""Prompts from a vocabulary: template x sub-class x context, chosen by a seed."""

import re

import numpy as np

from diffumask.types import Prompt, Target

from .vocabulary import Vocabulary

# First letters mislead where the sound differs: "a unicorn", "a ewe", "an hourglass".
CONSONANT_SOUND = re.compile(r"(uni|use|uti|eu|ewe|one\b)", re.IGNORECASE)
VOWEL_SOUND = re.compile(r"([aeiou]|hour|honest|heir)", re.IGNORECASE)


def build(vocabulary: Vocabulary, class_name: str, seed: int) -> Prompt:
    """Make the prompt of one seed for a class.

    The same vocabulary, class and seed give the same prompt. A class without sub-classes is
    named alone. Raises InputError for a class the vocabulary lacks.
    """
    entry = vocabulary.find(class_name)
    rng = np.random.default_rng(seed)
    template = _choose(vocabulary.templates, rng)
    sub_class = _choose(entry.sub_classes, rng) if entry.sub_classes else ""
    context = _choose(entry.contexts, rng)
    phrase = with_article(f"{sub_class} {entry.word}".strip())
    text = template.replace("{object}", phrase).replace("{context}", context)
    target = Target(entry.word, entry.name, entry.class_id)
    return Prompt(text, (target,), sub_class, context)


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase, by the sound of its beginning."""
    vowel = VOWEL_SOUND.match(phrase) and not CONSONANT_SOUND.match(phrase)
    return f"{'an' if vowel else 'a'} {phrase}"


def _choose(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
