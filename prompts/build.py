"""Prompts from a vocabulary: template x sub-class x context, chosen by a seed."""

import numpy as np

from diffumask.articles import with_article
from diffumask.types import Prompt, Target

from .vocabulary import Vocabulary


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


def _choose(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
