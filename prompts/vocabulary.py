"""Vocabularies: classes with their ids, words, sub-classes and contexts, read from TOML."""

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassIds, name_key

from .shipped import shipped_vocabulary
from .shipped import vocabulary_names as vocabulary_names

VOCABULARY_KEYS = {"classes", "contexts", "negative_prompt", "open", "templates"}
CLASS_KEYS = {
    "article",
    "attributes",
    "contexts",
    "group",
    "id",
    "sub_classes",
    "synonyms",
    "word",
}
PLACEHOLDERS = ("{object}", "{context}")
MIN_SIMILARITY = 0.5  # of difflib's ratio, below which a suggestion helps nobody


@dataclass(frozen=True, slots=True)
class VocabularyClass:
    """A class: `word` stands in prompts, `synonyms` are other names a user may type.

    `attributes` stand before the sub-class in a share of the prompts; `group` is a wider class,
    such as "vehicle", for evaluation; `has_article` is false for what has
    no plural, such as "grass", and for names of single things. Of one that `is_narrowed` only some
    sub-classes are asked for.
    """

    name: str
    class_id: int
    word: str
    synonyms: tuple[str, ...]
    sub_classes: tuple[str, ...]
    contexts: tuple[str, ...]
    attributes: tuple[str, ...] = field(default=(), repr=False)
    group: str = field(default="", repr=False)
    has_article: bool = field(default=True, repr=False)
    is_narrowed: bool = field(default=False, repr=False)

    @property
    def sought(self) -> tuple[str, ...]:
        """The names by which a text shows what is asked for."""
        return self.sub_classes if self.is_narrowed else self.known_as

    @property
    def known_as(self) -> tuple[str, ...]:
        """Every name that finds this class."""
        return (self.name, self.word, *self.synonyms)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What prompts are made of; one that is `open` lends its contexts to classes it lacks."""

    name: str
    templates: tuple[str, ...]
    negative_prompt: str
    classes: tuple[VocabularyClass, ...]
    contexts: tuple[str, ...] = field(default=(), repr=False)
    open: bool = field(default=True, repr=False)

    @property
    def fingerprint(self) -> str:
        """A short hash of the content, equal for equal prompts."""
        # Parts that change no prompt are left out, so that datasets begun without them go on.
        special = [
            (entry.name, entry.attributes, entry.has_article)
            for entry in self.classes
            if entry.attributes or not entry.has_article
        ]
        parts = [self, special or None, self.contexts if self.open else None]
        content = "".join(repr(part) for part in parts if part is not None)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def class_ids(self) -> ClassIds:
        """The ids of the classes, with every name that finds them and their groups."""
        return ClassIds(
            {entry.name: entry.class_id for entry in self.classes},
            {entry.name: entry.known_as for entry in self.classes},
            {entry.name: entry.group for entry in self.classes if entry.group},
        )

    def get(self, class_name: str) -> VocabularyClass | None:
        """Find a class as `find` does, or return None."""
        key = name_key(class_name)
        return next((e for e in self.classes if key in map(name_key, e.known_as)), None)

    def with_sub_class(self, name: str) -> list[VocabularyClass]:
        """List the classes that have a sub-class of that name, each narrowed to this alone."""
        key = name_key(name)
        found = []
        for entry in self.classes:
            kept = tuple(one for one in entry.sub_classes if name_key(one) == key)
            if kept:
                found.append(replace(entry, sub_classes=kept, is_narrowed=True))
        return found

    def find(self, class_name: str) -> VocabularyClass:
        """Find a class by name, word or synonym; case, spaces and hyphens do not count.

        Raises InputError that suggests the nearest name.
        """
        found = self.get(class_name)
        if found is None:
            near = nearest(class_name, self.classes, MIN_SIMILARITY)
            hint = f"did you mean {near.name!r}? " if near else ""
            names = ", ".join(entry.name for entry in self.classes)
            raise InputError(
                f"expected a class of the vocabulary {self.name!r}, got {class_name!r}; "
                f"{hint}it knows {names}"
            )
        return found


def nearest(
    class_name: str, classes: Iterable[VocabularyClass], min_similarity: float
) -> VocabularyClass | None:
    """Return the class with the name most like another, or None if all are less alike."""
    by_key = {name_key(alias): entry for entry in classes for alias in entry.known_as}
    near = difflib.get_close_matches(name_key(class_name), by_key, n=1, cutoff=min_similarity)
    return by_key[near[0]] if near else None


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """Read and check a vocabulary that ships with the package, or a TOML file of the same form.

    Raises InputError for an unknown name, a missing file and every mistake inside it.
    """
    name = str(name_or_path)
    if name in vocabulary_names():
        return _parse(name, shipped_vocabulary(name))
    path = Path(name_or_path)
    if path.suffix != ".toml" or not path.is_file():
        raise InputError(
            f"expected a vocabulary ({', '.join(vocabulary_names())}) or a .toml file, got {name!r}"
        )
    return _parse(path.stem, path.read_bytes())


def _parse(name: str, content: bytes) -> Vocabulary:
    try:
        raw = tomllib.loads(content.decode())
    except ValueError as error:  # not UTF-8, or not TOML
        raise InputError(f"expected valid TOML in vocabulary {name!r}: {error}") from error
    _check_keys(name, raw, VOCABULARY_KEYS)
    tables = raw.get("classes")
    if not isinstance(tables, dict) or not tables:
        raise InputError(f"{name}: expected at least one table [classes.NAME], got {tables!r}")
    contexts = _strings(name, raw, "contexts")
    classes = tuple(
        _parse_class(f"{name}: {class_name}", class_name, table, contexts)
        for class_name, table in tables.items()
    )
    negative_prompt = _string(name, raw, "negative_prompt", "")
    is_open = _flag(name, raw, "open")
    templates = _templates(name, raw)
    vocabulary = Vocabulary(name, templates, negative_prompt, classes, contexts, is_open)
    _check_unique(vocabulary)
    return vocabulary


def _templates(name: str, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Take the vocabulary's own list, or the named set of templates.toml."""
    sets = tomllib.loads(files("diffumask.prompts").joinpath("templates.toml").read_text("utf-8"))
    wanted = raw.get("templates", "photo")
    if isinstance(wanted, str):
        if wanted not in sets:
            raise InputError(
                f"{name}: expected templates to be a list or one of {', '.join(sets)}, "
                f"got {wanted!r}"
            )
        wanted = sets[wanted]
    templates = _strings(name, {"templates": wanted}, "templates")
    for template in templates:
        if any(template.count(placeholder) != 1 for placeholder in PLACEHOLDERS):
            raise InputError(
                f"{name}: expected {' and '.join(PLACEHOLDERS)} once in a template, "
                f"got {template!r}"
            )
    if not templates:
        raise InputError(f"{name}: expected at least one template, got none")
    return templates


def _parse_class(where: str, name: str, raw: Any, contexts: Sequence[str]) -> VocabularyClass:
    _check_keys(where, raw, CLASS_KEYS)
    class_id = raw.get("id")
    if type(class_id) is not int or not BACKGROUND_ID < class_id < IGNORE_ID:
        raise InputError(f"{where}: expected an id in 1..254, got {class_id!r}")
    own_contexts = _strings(where, raw, "contexts") or tuple(contexts)
    if not own_contexts:
        raise InputError(f"{where}: expected contexts in the class or the vocabulary, got none")
    return VocabularyClass(
        name,
        class_id,
        word=_string(where, raw, "word", name),
        synonyms=_strings(where, raw, "synonyms"),
        sub_classes=_strings(where, raw, "sub_classes"),
        contexts=own_contexts,
        attributes=_strings(where, raw, "attributes"),
        group=_string(where, raw, "group", ""),
        has_article=_flag(where, raw, "article"),
    )


def _check_keys(where: str, raw: Any, known: set[str]) -> None:
    if not isinstance(raw, dict):
        raise InputError(f"{where}: expected a table, got {raw!r}")
    unknown = sorted(set(raw) - known)
    if unknown:
        raise InputError(f"{where}: expected the keys {sorted(known)}, got {unknown}")


def _flag(where: str, raw: Mapping[str, Any], key: str) -> bool:
    value = raw.get(key, True)
    if not isinstance(value, bool):
        raise InputError(f"{where}: expected {key} to be true or false, got {value!r}")
    return value


def _string(where: str, raw: Mapping[str, Any], key: str, default: str) -> str:
    value = raw.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"{where}: expected {key} to be text, got {value!r}")
    return value


def _strings(where: str, raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = raw.get(key, [])
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise InputError(f"{where}: expected {key} to be a list of words, got {values!r}")
    return tuple(values)


def _check_unique(vocabulary: Vocabulary) -> None:
    owner_of: dict[str | int, str] = {}
    for entry in vocabulary.classes:
        for key in {entry.class_id, *map(name_key, entry.known_as)}:
            owner = owner_of.setdefault(key, entry.name)
            if owner != entry.name:
                raise InputError(
                    f"{vocabulary.name}: expected names and ids of one class each, "
                    f"but {key!r} belongs to {owner!r} and {entry.name!r}"
                )
