"""The pictures that `doctor` looks at: prompts for the model to draw, scenes, labelled pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from diffumask.articles import with_article
from diffumask.seeds import item_seed

if TYPE_CHECKING:  # they load OpenCV and torch
    from diffumask.dataset.pair import Pair
    from diffumask.labelled.folder import Labelled
    from diffumask.prompts.vocabulary import Vocabulary, VocabularyClass
    from diffumask.proof.reading import Picture
    from diffumask.types import ClassMap, Prompt

N_CLASSES = 5
LEAST_AREA = 0.02  # share of a labelled picture that an object has, to be asked for


def chosen_classes(names: Sequence[str], vocabulary: "Vocabulary") -> "list[VocabularyClass]":
    """Return the classes of these names; of none five of the vocabulary, evenly."""
    from diffumask.draw import evenly
    from diffumask.prompts.classes import Classes

    if not names:
        return [vocabulary.classes[i] for i in evenly(len(vocabulary.classes), N_CLASSES)]
    return list(Classes(vocabulary).find_all(names).values())


def prompted(
    entries: "Sequence[VocabularyClass]",
    n: int,
    seed: int,
    vocabulary: "Vocabulary",
    size_hw: tuple[int, int],
) -> "Iterator[Picture]":
    """Yield prompts of two objects, `n` for each class, with a word of what they do not name.

    Their images are for the model to draw.
    """
    from diffumask.prompts.build import build_for
    from diffumask.proof.reading import Picture

    empty = np.zeros((*size_hw, 3), np.uint8)
    for entry in entries:
        for index in range(n):
            own = item_seed(seed, f"doctor {entry.name}", index)
            prompt = build_for(vocabulary, entry, own, objects=2)
            yield Picture(empty, prompt, own, wrong_word(prompt, own, vocabulary))


def rendered(
    entries: "Sequence[VocabularyClass]",
    n: int,
    seed: int,
    vocabulary: "Vocabulary",
    size_hw: tuple[int, int],
) -> "Iterator[Picture]":
    """Yield scenes of two objects with exact truth, of the classes that have sprites."""
    from diffumask.proof.reading import Picture
    from diffumask.scenes import load_catalog, render_scene
    from diffumask.types import Prompt, Target

    catalog = load_catalog()
    known = [one for one in vocabulary.classes if one.name in catalog.classes]
    for entry in (one for one in entries if one in known):
        for index in range(n):
            own = item_seed(seed, f"doctor scene {entry.name}", index)
            rng = np.random.default_rng(own)
            others = [one for one in known if one != entry]
            pair = [entry, others[int(rng.integers(len(others)))]]
            names = [pair[i].name for i in rng.permutation(2)]
            scene = render_scene(own, size_hw, class_names=names)
            truth = np.zeros(size_hw, np.uint8)
            for one in scene.objects:
                truth[one.mask] = 1 if one.class_name == entry.name else 2
            targets = tuple(Target(one.word, one.name, one.class_id) for one in pair)
            place = catalog.backgrounds[scene.background].phrase
            phrases = " and ".join(with_article(one.word) for one in pair)
            prompt = Prompt(f"a photo of {phrases} {place}", targets, context=place)
            yield Picture(scene.image, prompt, own, wrong_word(prompt, own, vocabulary), truth)


def labelled_pictures(
    labelled: "Labelled", most: int, seed: int, vocabulary: "Vocabulary", size_hw: tuple[int, int]
) -> "Iterator[Picture]":
    """Yield at most so many labelled pictures that show a class of the vocabulary.

    The middle of each, of the aspect of the size, resized; the class with most pixels is asked
    for, beside the next one.
    """
    from diffumask.dataset.pair import resized
    from diffumask.proof.reading import Picture

    # in an order that is not the folder's, which often goes by class
    order = np.random.default_rng(seed).permutation(len(labelled))
    for index in map(int, order):
        if most == 0:
            return
        pair = resized(_middle(labelled[index], size_hw), size_hw)
        ids = _asked(pair.class_map, vocabulary)
        if not ids:
            continue
        prompt = _caption(ids, vocabulary)
        own = item_seed(seed, "doctor data", index)
        truth = _numbered(pair.class_map, ids)
        yield Picture(pair.image, prompt, own, wrong_word(prompt, own, vocabulary, pair), truth)
        most -= 1


def wrong_word(
    prompt: "Prompt", seed: int, vocabulary: "Vocabulary", pair: "Pair | None" = None
) -> str:
    """Return the word of a class that neither a prompt names nor a labelled picture shows."""
    shown = set() if pair is None else set(np.unique(pair.class_map).tolist())
    named = prompt.text.lower()
    others = [
        one.word
        for one in vocabulary.classes
        if one.class_id not in shown and not any(alias.lower() in named for alias in one.known_as)
    ]
    if not others:
        from diffumask.errors import InputError

        raise InputError(
            f"expected classes in the vocabulary {vocabulary.name!r} beside those in "
            f"{prompt.text!r}, got none; choose another vocabulary"
        )
    return others[int(np.random.default_rng(seed).integers(len(others)))]


def _middle(pair: "Pair", size_hw: tuple[int, int]) -> "Pair":
    """Cut the largest middle part of the aspect of a size."""
    (height, width), (h, w) = pair.size_hw, size_hw
    scale = min(height / h, width / w)
    high, wide = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = (height - high) // 2, (width - wide) // 2
    part = slice(top, top + high), slice(left, left + wide)
    return replace(pair, image=pair.image[part], class_map=pair.class_map[part])


def _asked(class_map: "ClassMap", vocabulary: "Vocabulary") -> list[int]:
    """Return the ids of the two largest classes of the vocabulary, largest first."""
    known = {one.class_id for one in vocabulary.classes}
    ids, counts = np.unique(class_map, return_counts=True)
    large = [
        (int(count), int(one))
        for one, count in zip(ids, counts, strict=True)
        if int(one) in known and count >= LEAST_AREA * class_map.size
    ]
    return [one for _, one in sorted(large, reverse=True)][:2]


def _caption(ids: Sequence[int], vocabulary: "Vocabulary") -> "Prompt":
    from diffumask.types import Prompt, Target

    by_id = {one.class_id: one for one in vocabulary.classes}
    entries = [by_id[one] for one in ids]
    phrases = [with_article(one.word) if one.has_article else one.word for one in entries]
    targets = tuple(Target(one.word, one.name, one.class_id) for one in entries)
    return Prompt(f"a photo of {' and '.join(phrases)}", targets)


def _numbered(class_map: "ClassMap", ids: Sequence[int]) -> "ClassMap":
    """Call the asked classes 1 and 2, others 3, 4, ...; 0 and 255 stay."""
    from diffumask.dataset.pair import class_ids

    others = [one for one in class_ids(class_map) if one not in ids]
    truth = np.where(class_map == 255, 255, 0).astype(np.uint8)
    for label, one in enumerate([*ids, *others], start=1):
        truth[class_map == one] = label
    return truth
