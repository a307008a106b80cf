"""The labels of a head: consecutive numbers for those class ids that its training masks hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.labelled.folder import Labelled
from diffumask.labelled.mapping import N_VALUES, LabelMapping
from diffumask.types import BACKGROUND, BACKGROUND_ID, IGNORE_ID, ClassMap, name_key


@dataclass(frozen=True, slots=True)
class Labels:
    """Class ids and names, label i being `ids[i]`; "background" with id 0 where there is one."""

    ids: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def has_background(self) -> bool:
        """Whether label 0 is what belongs to no class."""
        return self.ids[0] == BACKGROUND_ID and self.names[0] == BACKGROUND

    @property
    def class_ids(self) -> dict[str, int]:
        """The ids of the classes by name, without background."""
        pairs = dict(zip(self.names, self.ids, strict=True))
        return {name: one for name, one in pairs.items() if name != BACKGROUND or one}

    def find(self, class_name: str) -> int | None:
        """Return the label of a class; case, spaces and hyphens do not count."""
        keys = [name_key(name) for name in self.names]
        key = name_key(class_name)
        return keys.index(key) if key in keys else None

    def encode(self, class_map: ClassMap) -> UInt8[np.ndarray, "h w"]:
        """Turn class ids into labels; ids that are none of these become 255."""
        table = np.full(N_VALUES, IGNORE_ID, np.uint8)
        table[list(self.ids)] = np.arange(len(self.ids))
        return table[class_map]

    def decode(self, labels: UInt8[np.ndarray, "h w"]) -> ClassMap:
        """Turn labels into class ids; 255 stays."""
        table = np.full(N_VALUES, IGNORE_ID, np.uint8)
        table[: len(self.ids)] = self.ids
        return table[labels]


def find_labels(labelled: Labelled, indices: Iterable[int], wanted: Sequence[str] = ()) -> Labels:
    """Read some masks and return the labels that occur; a class without a pixel gets none.

    Raises InputError when a `wanted` class has no pixel, and when fewer than two labels occur.
    """
    shown = np.zeros(N_VALUES, bool)
    for index in indices:
        shown[np.unique(labelled.class_map(index))] = True
    mapping: LabelMapping = labelled.mapping
    names = {class_id: name for class_id, name in mapping.names.items() if shown[class_id]}
    for name in wanted:
        known = mapping.classes.find(name)
        if known is None or not shown[mapping.classes.ids[known]]:
            raise InputError(
                f"expected pixels of every class, got none of {name!r} in the training masks of "
                f"{labelled.folder}; leave the class out or add masks of it"
            )
    if len(names) < 2:
        raise InputError(
            f"expected at least two labels in the masks of {labelled.folder}, got "
            f"{', '.join(names.values()) or 'none but 255'}; take other data"
        )
    return Labels(tuple(names), tuple(names.values()))
