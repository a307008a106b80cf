"""Where the prompts of a run come from: its vocabulary, or prompts or captions of the user's."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.types import Prompt

from .build import build_for
from .captions import BANNED, Captions, banned_in, read_captions
from .classes import Classes
from .file import read_prompts
from .ranking import BY_TEXT, Ranking
from .vocabulary import Vocabulary, VocabularyClass


@dataclass(frozen=True, slots=True)
class PromptSource:
    """The prompts of a run.

    `class_names` are the classes that items are made for, `class_ids` all that items may show,
    `prompt_of` takes the class, index and seed of an item, `identity` is what else the prompts
    depend on, besides the vocabulary, and `choices` the sub-classes and contexts of each class.
    `titles` are the classes with the sub-classes to which they are narrowed.
    """

    class_names: tuple[str, ...]
    class_ids: Mapping[str, int]
    prompt_of: Callable[[str, int, int], Prompt]
    identity: Mapping[str, Any]
    choices: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    titles: tuple[str, ...]


def from_vocabulary(classes: Classes, names: Sequence[str], objects: int = 1) -> PromptSource:
    """Build prompts of `objects` classes each, of which the named one is the first.

    The others are of the named ones as well; where these are fewer, further ones are of the
    vocabulary.
    """
    vocabulary = classes.vocabulary
    if objects < 1:
        raise InputError(f"expected 1 object in a prompt or more, got {objects}")
    entries = classes.find_all(names)
    beside = _beside(entries, vocabulary, objects) if len(entries) > 1 else None
    for entry in entries.values():
        build_for(vocabulary, entry, 0, objects, beside)  # too many objects are refused at once

    def prompt_of(class_name: str, index: int, seed: int) -> Prompt:
        return build_for(vocabulary, entries[class_name], seed, objects, beside)

    identity: dict[str, Any] = {"objects": objects} if objects > 1 else {}
    shown = [*entries.values(), *(vocabulary.classes if objects > max(1, len(entries)) else ())]
    if objects > 1 and len(entries) > 1:  # what is beside an object depends on all
        identity["objects_of"] = sorted(entries)
    class_ids = {entry.name: entry.class_id for entry in shown}
    choices = {name: (entry.sub_classes, entry.contexts) for name, entry in entries.items()}
    identity |= _narrowed(entries)
    return PromptSource(tuple(entries), class_ids, prompt_of, identity, choices, _titles(entries))


def _beside(
    entries: Mapping[str, VocabularyClass], vocabulary: Vocabulary, objects: int
) -> Sequence[Sequence[VocabularyClass]]:
    """Return what may stand beside a class: the classes that are asked for, then all others."""
    asked = [entries[name] for name in sorted(entries)]
    if objects <= len(asked):
        return [asked]
    return [asked, [entry for entry in vocabulary.classes if entry.name not in entries]]


def _narrowed(entries: Mapping[str, VocabularyClass]) -> dict[str, Any]:
    """Return what of a run's identity says that only some sub-classes are asked for."""
    kept = {name: sorted(one.sub_classes) for name, one in entries.items() if one.is_narrowed}
    return {"sub_classes": kept} if kept else {}


def _titles(entries: Mapping[str, VocabularyClass]) -> tuple[str, ...]:
    parts = [(*(one.sub_classes if one.is_narrowed else ()), one.name) for one in entries.values()]
    return tuple(" ".join(words) for words in parts)


def from_file(path: Path, classes: Classes, names: Sequence[str]) -> PromptSource:
    """Take the prompts of a file in turn: item i of a class has its prompt i modulo their number.

    A prompt is of the class of its first target. Without names all classes of the file are taken.
    """
    prompts = read_prompts(path, classes, names)
    by_class: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_class.setdefault(prompt.targets[0].class_name, []).append(prompt)
    shown = {t.class_name: t.class_id for prompt in prompts for t in prompt.targets}
    wanted = dict.fromkeys([classes.find(name).name for name in names] or by_class)
    for name in wanted:
        if name not in shown or not by_class.keys() & wanted.keys():
            raise InputError(
                f"expected prompts of {name!r} in {path.name}, got none; their first classes are "
                f"{', '.join(by_class)}"
            )

    def prompt_of(class_name: str, index: int, seed: int) -> Prompt:
        return by_class[class_name][index % len(by_class[class_name])]

    identity = {"prompts": path.name, "prompts_fingerprint": _fingerprint(prompts)}
    class_names = tuple(name for name in wanted if name in by_class)
    return PromptSource(
        class_names,
        shown,
        prompt_of,
        identity,
        dict.fromkeys(class_names, ((), ())),
        class_names,
    )


def from_captions(
    path: Path, classes: Classes, names: Sequence[str], ranking: Ranking = BY_TEXT
) -> PromptSource:
    """Take captions of a file that name the class, such as are like what would be built."""
    captions = read_captions(path)
    entries = classes.find_all(names)
    found = {name: Captions(captions, entry, ranking) for name, entry in entries.items()}
    for name, entry in entries.items():
        if not found[name].captions:
            raise InputError(
                f"expected captions with {entry.sought[0]!r} in {path.name}, got none; use another "
                "file"
            )

    def prompt_of(class_name: str, index: int, seed: int) -> Prompt:
        return found[class_name].choose(classes.vocabulary, seed)

    # The banned words count only where there are some, so that datasets begun without them go on.
    content = [*captions, *(BANNED if any(map(banned_in, captions)) else ())]
    identity = {
        "captions": path.name,
        "captions_fingerprint": _fingerprint(content),
        **ranking.identity,
        **_narrowed(entries),
    }
    class_ids = {name: entry.class_id for name, entry in entries.items()}
    choices = {name: (entry.sub_classes, ()) for name, entry in entries.items()}
    return PromptSource(tuple(entries), class_ids, prompt_of, identity, choices, _titles(entries))


def _fingerprint(content: Sequence[object]) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]
