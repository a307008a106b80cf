"""What the values in masks stand for, and which class ids they become."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int16, UInt8

from diffumask.errors import InputError
from diffumask.types import BACKGROUND, BACKGROUND_ID, IGNORE_ID, ClassIds, ClassMap

N_VALUES = 256
UNKNOWN = -1
LISTED = 30  # class names in an error
OBJECT, OBJECT_ID = "object", 1


@dataclass(frozen=True, slots=True)
class MaskValues:
    """What the values in the masks of a dataset stand for; 255 is ignored everywhere.

    Without `names` a value is a class id, and which ones there are is for others to say. `named_by`
    is the file that the names are of, or empty.
    """

    names: Mapping[int, str] | None = None
    background: Collection[int] = frozenset({BACKGROUND_ID})
    ignored: Collection[int] = frozenset()
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class ClassSelection:
    """What is wanted of a dataset: `only` some classes, further values ignored, or background.

    A value of `mapped` is read as the one it is mapped to, in the masks of the data; those of
    `predicted_mapped` in predictions.
    """

    classes: ClassIds | None = None
    only: Sequence[str] = ()
    ignored: Collection[int] = frozenset()
    ignore_background: bool = False
    mapped: Mapping[int, int] = field(default_factory=dict)
    predicted_mapped: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelMapping:
    """Turns the values of masks into class ids; `classes` are those that count, by name.

    `has_background` says that 0 is a class too, named "background".
    """

    classes: ClassIds
    has_background: bool
    truth: Int16[np.ndarray, " 256"]
    predicted: Int16[np.ndarray, " 256"]

    @property
    def names(self) -> dict[int, str]:
        """The name of each id that counts, in the order of ids."""
        names = {class_id: name for name, class_id in self.classes.ids.items()}
        background = {BACKGROUND_ID: BACKGROUND} if self.has_background else {}
        return dict(sorted((background | names).items()))

    def as_objects(self) -> "LabelMapping":
        """Take all classes for one, "object". Raises InputError without a background."""
        if not self.has_background:
            raise InputError(
                "expected masks with a background, which objects are told from, got "
                f"{_listed(self.classes.ids)} without one; take other data"
            )
        truth, predicted = (
            np.where((table > BACKGROUND_ID) & (table < IGNORE_ID), OBJECT_ID, table)
            for table in (self.truth, self.predicted)
        )
        return LabelMapping(ClassIds({OBJECT: OBJECT_ID}), True, truth, predicted)


def decode(raw: UInt8[np.ndarray, "h w"], table: Int16[np.ndarray, " 256"], path: Path) -> ClassMap:
    """Look the values of a mask up. Raises InputError for one that stands for nothing."""
    unknown = cv2.LUT(raw, (table == UNKNOWN).astype(np.uint8)) > 0
    if unknown.any():
        value = int(raw[unknown].min())
        raise InputError(
            f"expected the labels {_known(table.tolist())}, got {value} in {path}; give the "
            "classes that the masks hold, or map or ignore the value"
        )
    return cv2.LUT(raw, table.astype(np.uint8))


def make_mapping(values: MaskValues, selection: ClassSelection) -> LabelMapping:
    """Match the classes of a dataset with those that are selected.

    With names on both sides they are matched by name; a class of the data that is not selected
    becomes background, or 255 where the data has no background. Raises InputError when no class
    of the data is selected.
    """
    classes = selection.classes or ClassIds(_own_ids(values))
    counted = _counted(classes, selection.only)
    ids = _ids_of_values(values, classes)
    class_ids = set(classes.ids.values())
    is_class_0 = values.names is None and BACKGROUND_ID in class_ids
    background = () if is_class_0 else values.background
    other = BACKGROUND_ID if background else IGNORE_ID
    not_counted = IGNORE_ID if selection.ignore_background else other
    counted_ids = set(counted.ids.values()) - {other}
    ignored = {*selection.ignored, IGNORE_ID}

    def true_id(value: int) -> int:
        if value in ignored or value in values.ignored:
            return IGNORE_ID
        if value in background:
            return not_counted
        class_id = ids.get(value, UNKNOWN)
        return class_id if class_id in {UNKNOWN, *counted_ids} else not_counted

    def predicted_id(value: int) -> int:
        if value in ignored:
            return IGNORE_ID
        if value in counted_ids:
            return value
        if value in class_ids or value == BACKGROUND_ID:
            return other
        is_ignored = selection.classes is None and value in values.ignored
        return IGNORE_ID if is_ignored else UNKNOWN

    return LabelMapping(
        counted,
        bool(background) and not selection.ignore_background,
        _table(true_id, selection.mapped),
        _table(predicted_id, selection.predicted_mapped),
    )


def _table(id_of: Callable[[int], int], mapped: Mapping[int, int]) -> Int16[np.ndarray, " 256"]:
    """Tabulate what each value becomes, a mapped one being read as the value it is mapped to."""
    ids = [id_of(value) for value in range(N_VALUES)]
    for value, other in mapped.items():
        if not {value, other} <= set(range(N_VALUES)) or ids[other] == UNKNOWN:
            raise InputError(
                f"expected to map a value in 0..255 to one of {_known(ids)}, got {value} to {other}"
            )
    return np.array([ids[mapped.get(value, value)] for value in range(N_VALUES)], np.int16)


def _known(ids: Sequence[int]) -> str:
    known = [value for value, class_id in enumerate(ids) if class_id != UNKNOWN]
    return f"{', '.join(map(str, known[:LISTED]))} ..."


def _own_ids(values: MaskValues) -> dict[str, int]:
    """Name the classes as the data does, or by their values."""
    if values.names is not None:
        return {name: value for value, name in values.names.items()}
    unnamed = {*values.background, *values.ignored, IGNORE_ID}
    return {str(value): value for value in range(N_VALUES) if value not in unnamed}


def _ids_of_values(values: MaskValues, classes: ClassIds) -> dict[int, int | None]:
    """Return the class id of each value that stands for a class, None for one not selected."""
    if values.names is None:
        return {class_id: class_id for class_id in classes.ids.values()}
    class_names = {value: classes.find(name) for value, name in values.names.items()}
    if not any(class_names.values()):
        raise InputError(
            f"expected classes of the data ({_listed(values.names.values())}), got "
            f"{_listed(classes.ids)}; choose another vocabulary"
        )
    return {value: classes.ids[name] if name else None for value, name in class_names.items()}


def _counted(classes: ClassIds, only: Sequence[str]) -> ClassIds:
    chosen = {name: classes.find(name) for name in only}
    for name, class_name in chosen.items():
        if class_name is None:
            raise InputError(f"expected one of the classes {_listed(classes.ids)}, got {name!r}")
    ids = {name: i for name, i in classes.ids.items() if not only or name in chosen.values()}
    return replace(classes, ids=ids)


def _listed(names: Collection[str]) -> str:
    more = ", ..." if len(names) > LISTED else ""
    return ", ".join(list(names)[:LISTED]) + more
