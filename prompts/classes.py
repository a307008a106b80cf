"""The classes of a run: those of its vocabulary, and open ones with ids of their own."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID, name_key

from .vocabulary import Vocabulary, VocabularyClass, nearest

NEAR_MISS = 0.75  # of difflib's ratio, from which a name is taken for a slip: "brid", "motobike"
MAX_LENGTH = 60  # of a name in characters, as files and prompts take it


class Classes:
    """Find classes by name; a name that the vocabulary lacks becomes an open class.

    `known` are the ids that a dataset gave out already. The id of an open class follows from its
    name, among those that the vocabulary leaves free, and moves on only if another class of the
    dataset has it. With `open_all` a name like one of the vocabulary's is no slip.
    """

    def __init__(
        self, vocabulary: Vocabulary, known: Mapping[str, int] | None = None, open_all: bool = False
    ) -> None:
        self.vocabulary = vocabulary
        self._open_all = open_all
        self._ids: dict[str, int] = {}
        self._opened: dict[str, VocabularyClass] = {}
        for name, class_id in (known or {}).items():
            if vocabulary.get(name) is None and vocabulary.open:
                self._add(name, class_id)

    def find(self, name: str, class_id: object = None) -> VocabularyClass:
        """Return a class, which has the id `class_id` unless that is None.

        The name of a sub-class finds its class, narrowed to this. Raises InputError for a name that
        is nearly another's, for one that no file could have, for an id that another class has,
        where the vocabulary is closed, and for a sub-class of several.
        """
        found = self.vocabulary.get(name) or self._opened.get(name_key(name))
        if found is None and not self._open_all:
            found = self._by_sub_class(name)
        if found is None:
            self._check(name)
            found = self._add(" ".join(name.split()), class_id)
        if class_id not in (None, found.class_id):
            raise InputError(
                f"expected the id {found.class_id} of {found.name!r}, got {class_id!r}; leave it "
                "out"
            )
        return found

    def find_all(self, names: Iterable[str]) -> dict[str, VocabularyClass]:
        """Find classes as `find` does; return each once, with all its asked sub-classes."""
        found: dict[str, VocabularyClass] = {}
        for entry in map(self.find, names):
            before = found.get(entry.name, entry)
            if before.is_narrowed and entry.is_narrowed:
                both = dict.fromkeys([*before.sub_classes, *entry.sub_classes])
                found[entry.name] = replace(entry, sub_classes=tuple(both))
            else:
                found[entry.name] = entry if before.is_narrowed else before
        return found

    def _by_sub_class(self, name: str) -> VocabularyClass | None:
        owners = self.vocabulary.with_sub_class(name)
        if len(owners) > 1:
            listed = ", ".join(one.name for one in owners)
            raise InputError(
                f"expected a class of the vocabulary {self.vocabulary.name!r}, got {name!r}, which "
                f"is a sub-class of {listed}; name one of these"
            )
        return owners[0] if owners else None

    def _check(self, name: str) -> None:
        if not self.vocabulary.open:
            self.vocabulary.find(name)  # says what there is
        near = nearest(name, (*self.vocabulary.classes, *self._opened.values()), NEAR_MISS)
        if near and not self._open_all:
            raise InputError(
                f"expected a class of the vocabulary {self.vocabulary.name!r}, got {name!r}; did "
                f"you mean {near.name!r}? the option open makes it a class of its own"
            )
        if not re.search("[A-Za-z0-9]", name) or not name.isprintable() or len(name) > MAX_LENGTH:
            raise InputError(
                f"expected letters a-z or digits in a class name, at most {MAX_LENGTH} characters "
                f"in one line, got {name!r}"
            )

    def _add(self, name: str, class_id: object) -> VocabularyClass:
        self._ids[name] = self._free_id(name) if class_id is None else self._checked(class_id)
        self._opened[name_key(name)] = entry = VocabularyClass(
            name,
            self._ids[name],
            word=name,
            synonyms=(),
            sub_classes=(),
            contexts=self.vocabulary.contexts,
            has_article=not name[:1].isupper(),
        )
        return entry

    def _checked(self, class_id: object) -> int:
        owners = {entry.class_id: entry.name for entry in self.vocabulary.classes}
        owners |= {taken: name for name, taken in self._ids.items()}
        if type(class_id) is not int or not BACKGROUND_ID < class_id < IGNORE_ID:
            raise InputError(f"expected a class id in 1..254, got {class_id!r}")
        if class_id in owners:
            raise InputError(
                f"expected an id that no other class has, got {class_id} of {owners[class_id]!r}"
            )
        return class_id

    def _free_id(self, name: str) -> int:
        used = {entry.class_id for entry in self.vocabulary.classes}
        free = [one for one in range(BACKGROUND_ID + 1, IGNORE_ID) if one not in used]
        digest = hashlib.blake2b(name_key(name).encode(), digest_size=8).digest()
        start = int.from_bytes(digest, "big") % max(1, len(free))
        for class_id in free[start:] + free[:start]:
            if class_id not in self._ids.values():
                return class_id
        raise InputError(f"expected at most {IGNORE_ID - 1} classes in a dataset, got {name!r} too")
