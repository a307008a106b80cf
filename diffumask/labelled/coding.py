"""What the values in masks stand for, and which class ids they become."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int16, UInt8

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap

N_VALUES = 256
UNKNOWN = -1
BACKGROUND = "background"
LISTED = 30  # class names in an error


@dataclass(frozen=True, slots=True)
class Classes:
    """Class ids by name. An id 0 leaves no background.

    `aliases` are further names of a class, `groups` the wider class that it is counted with too.
    """

    ids: Mapping[str, int]
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = list(self.ids.values())
        wrong = [i for i in ids if not BACKGROUND_ID <= i < IGNORE_ID or ids.count(i) > 1]
        if not ids or wrong:
            raise InputError(f"expected class ids in 0..254, each of one class, got {wrong or ids}")

    def names_of(self, name: str) -> tuple[str, ...]:
        """Return every name of a class, its own first."""
        return (name, *self.aliases.get(name, ()))

    def find(self, name: str) -> str | None:
        """Return the class that goes by a name; case, spaces and hyphens do not count."""
        keys = {name_key(alias): one for one in self.ids for alias in self.names_of(one)[::-1]}
        return keys.get(name_key(name))


@dataclass(frozen=True, slots=True)
class Values:
    """What the values in the masks of a dataset stand for; 255 is ignored everywhere.

    Without `names` a value is a class id, and which ones there are is for others to say. `named_by`
    is the file that the names are of, or empty.
    """

    names: Mapping[int, str] | None = None
    background: Collection[int] = frozenset({BACKGROUND_ID})
    ignored: Collection[int] = frozenset()
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a dataset: `only` some classes, further values ignored, or background.

    A value of `mapped` is read as the one it is mapped to, in the masks of the data; those of
    `predicted_mapped` in predictions.
    """

    classes: Classes | None = None
    only: Sequence[str] = ()
    ignored: Collection[int] = frozenset()
    ignore_background: bool = False
    mapped: Mapping[int, int] = field(default_factory=dict)
    predicted_mapped: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Coding:
    """Turns the values of masks into class ids; `classes` are those that count, by name.

    `has_background` says that 0 is a class too, named "background".
    """

    classes: Classes
    has_background: bool
    truth: Int16[np.ndarray, " 256"]
    predicted: Int16[np.ndarray, " 256"]

    @property
    def names(self) -> dict[int, str]:
        """The name of each id that counts, in the order of ids."""
        names = {class_id: name for name, class_id in self.classes.ids.items()}
        background = {BACKGROUND_ID: BACKGROUND} if self.has_background else {}
        return dict(sorted((background | names).items()))


def name_key(name: str) -> str:
    """Reduce a name to what names are compared by."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def decode(raw: UInt8[np.ndarray, "h w"], table: Int16[np.ndarray, " 256"], path: Path) -> ClassMap:
    """Look the values of a mask up. Raises InputError for one that stands for nothing."""
    unknown = cv2.LUT(raw, (table == UNKNOWN).astype(np.uint8)) > 0
    if unknown.any():
        value = int(raw[unknown].min())
        known = ", ".join(map(str, np.flatnonzero(table != UNKNOWN)[:LISTED]))
        raise InputError(
            f"expected the labels {known} ..., got {value} in {path}; give the classes that the "
            "masks hold, or map or ignore the value"
        )
    return cv2.LUT(raw, table.astype(np.uint8))


def make_coding(values: Values, wish: Wish) -> Coding:
    """Match the classes of a dataset with those that are wanted.

    With names on both sides they are matched by name; a class of the data that is not wanted
    becomes background, or 255 where the data has no background. Raises InputError when no class
    of the data is wanted.
    """
    has_background = bool(values.background)
    classes = wish.classes
    if classes is None:
        classes = Classes({name: value for value, name in _own_names(values).items()})
    elif values.names is None and BACKGROUND_ID in classes.ids.values():
        has_background = False
    other = BACKGROUND_ID if has_background else IGNORE_ID
    counted = _only(classes, wish.only)
    targets = {i: i if i in counted.ids.values() else other for i in classes.ids.values()}

    truth = np.full(N_VALUES, UNKNOWN, np.int16)
    for value, class_id in _class_ids(values, classes, other).items():
        truth[value] = targets.get(class_id, class_id)
    if has_background:
        truth[list(values.background)] = BACKGROUND_ID
    if wish.ignore_background and has_background:
        truth[truth == BACKGROUND_ID] = IGNORE_ID
    predicted = np.full(N_VALUES, UNKNOWN, np.int16)
    if wish.classes is None:
        predicted[list(values.ignored)] = IGNORE_ID
    predicted[BACKGROUND_ID] = other
    predicted[list(targets)] = list(targets.values())
    truth[[*values.ignored, *wish.ignored, IGNORE_ID]] = IGNORE_ID
    predicted[[*wish.ignored, IGNORE_ID]] = IGNORE_ID
    return Coding(
        counted,
        has_background and not wish.ignore_background,
        _mapped(truth, wish.mapped),
        _mapped(predicted, wish.predicted_mapped),
    )


def _mapped(
    table: Int16[np.ndarray, " 256"], mapped: Mapping[int, int]
) -> Int16[np.ndarray, " 256"]:
    new = table.copy()
    for value, other in mapped.items():
        if not {value, other} <= set(range(N_VALUES)) or table[other] == UNKNOWN:
            known = ", ".join(map(str, np.flatnonzero(table != UNKNOWN)[:LISTED]))
            raise InputError(
                f"expected to map a value in 0..255 to one of {known} ..., got {value} to {other}"
            )
        new[value] = table[other]
    return new


def _own_names(values: Values) -> Mapping[int, str]:
    """Name the classes as the data does, or by their values."""
    if values.names is not None:
        return values.names
    unnamed = {*values.background, *values.ignored, IGNORE_ID}
    return {value: str(value) for value in range(N_VALUES) if value not in unnamed}


def _class_ids(values: Values, classes: Classes, other: int) -> dict[int, int]:
    """Return the class id of each value that stands for a class."""
    if values.names is None:
        return {class_id: class_id for class_id in classes.ids.values()}
    found = {value: classes.find(name) for value, name in values.names.items()}
    if not any(found.values()):
        raise InputError(
            f"expected classes of the data ({_listed(values.names.values())}), got "
            f"{_listed(classes.ids)}; choose another vocabulary"
        )
    return {value: classes.ids[name] if name else other for value, name in found.items()}


def _only(classes: Classes, wanted: Sequence[str]) -> Classes:
    found = {name: classes.find(name) for name in wanted}
    for name, one in found.items():
        if one is None:
            raise InputError(f"expected one of the classes {_listed(classes.ids)}, got {name!r}")
    ids = {name: i for name, i in classes.ids.items() if not wanted or name in found.values()}
    return replace(classes, ids=ids)


def _listed(names: Collection[str]) -> str:
    more = ", ..." if len(names) > LISTED else ""
    return ", ".join(list(names)[:LISTED]) + more
