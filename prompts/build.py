"""Prompts from a vocabulary: template x sub-class x context, chosen by a seed."""

from collections.abc import Sequence

import numpy as np

from diffumask.articles import counted, with_article
from diffumask.errors import InputError
from diffumask.types import Prompt, Target

from .vocabulary import Vocabulary, VocabularyClass
from .words import spans

TRIES = 20  # of other words, where those chosen first cannot stand beside each other
ATTRIBUTE_SHARE = 0.25  # of the prompts of a class with attributes; all others go without


def build(vocabulary: Vocabulary, class_name: str, seed: int, objects: int = 1) -> Prompt:
    """Make the prompt of one seed for a class.

    The same vocabulary, class, seed and number of objects give the same prompt. A class without
    sub-classes is named alone. The further objects are other classes of the vocabulary, labelled
    too. Raises InputError for a class the vocabulary lacks, and for too many objects.
    """
    return build_for(vocabulary, vocabulary.find(class_name), seed, objects)


def build_for(
    vocabulary: Vocabulary,
    entry: VocabularyClass,
    seed: int,
    objects: int = 1,
    beside: Sequence[Sequence[VocabularyClass]] | None = None,
) -> Prompt:
    """Make a prompt as `build` does, for a class that need not be of the vocabulary.

    The further objects are of the classes `beside` it, of each group as many as can be before the
    next one.
    """
    if not entry.contexts:
        raise InputError(
            f"{vocabulary.name}: expected contexts of the vocabulary for the class {entry.name!r} "
            "that it lacks, got none; add them"
        )
    rng, most = np.random.default_rng(seed), 0
    for _ in range(TRIES):
        template = _choose(vocabulary.templates, rng)
        sub_class = _choose(entry.sub_classes, rng) if entry.sub_classes else ""
        context = _choose(entry.contexts, rng)
        template = template.replace("{context}", context)
        text, entries = _joined(
            template, entry, sub_class, objects, beside or [vocabulary.classes], rng
        )
        most = max(most, len(entries))
        if most == objects:
            targets = tuple(Target(one.word, one.name, one.class_id) for one in entries)
            return Prompt(text, targets, sub_class, context)
    raise InputError(
        f"expected at most {counted(most, 'object')} beside each other for {entry.name!r} in the "
        f"vocabulary {vocabulary.name!r}, got {objects}; ask for fewer"
    )


def _joined(
    template: str,
    entry: VocabularyClass,
    sub_class: str,
    objects: int,
    beside: Sequence[Sequence[VocabularyClass]],
    rng: np.random.Generator,
) -> tuple[str, list[VocabularyClass]]:
    """Fill in a class and as many as can be of those beside it, at most `objects` in all."""
    entries, phrases = [entry], [_phrase(entry, sub_class, rng)]
    text = template.replace("{object}", phrases[0])
    shuffled = (group[int(i)] for group in beside for i in rng.permutation(len(group)))
    for partner in shuffled if objects > 1 else ():
        if len(entries) == objects:
            break
        its_sub_class = _choose(partner.sub_classes, rng) if partner.sub_classes else ""
        more = [*phrases, _phrase(partner, its_sub_class, rng)]
        longer = template.replace("{object}", " and ".join(more))
        # A word that stood in the text twice would draw attention to the wrong object.
        if all(len(spans(longer, one.word)) == 1 for one in (*entries, partner)):
            entries, phrases, text = [*entries, partner], more, longer
    return text, entries


def _phrase(entry: VocabularyClass, sub_class: str, rng: np.random.Generator) -> str:
    words = [sub_class, entry.word]
    if entry.attributes and rng.random() < ATTRIBUTE_SHARE:
        words = [_choose(entry.attributes, rng), *words]
    phrase = " ".join(filter(None, words))
    return with_article(phrase) if entry.has_article else phrase


def _choose(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
