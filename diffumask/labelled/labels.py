"""Class ids and the labels of a network, which have no gaps."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.types import BACKGROUND, BACKGROUND_ID, IGNORE_ID, ClassMap, name_key

from .mapping import N_VALUES


@dataclass(frozen=True, slots=True)
class Labels:
    """Class ids by name, of which the network's labels are made: 0, 1, ... in the order of ids.

    Label 0 is the background, unless there is none or a class has the id 0, and `has_background`
    says so. Raises InputError for ids outside 0..254 and for one id of two classes.
    """

    ids: Mapping[str, int]
    has_background: bool = True

    def __post_init__(self) -> None:
        ids = list(self.ids.values())
        wrong = [i for i in ids if not BACKGROUND_ID <= i < IGNORE_ID or ids.count(i) > 1]
        if not ids or wrong:
            raise InputError(f"expected class ids in 1..254, each of one class, got {wrong or ids}")
        if BACKGROUND_ID in ids:
            object.__setattr__(self, "has_background", False)
        if len(self.class_ids) < 2:
            raise InputError(f"expected two classes or a background, got {', '.join(self.ids)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""
        return tuple(self._by_id().values())

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The class id of each label."""
        return tuple(self._by_id())

    def _by_id(self) -> dict[int, str]:
        named = {class_id: name for name, class_id in self.ids.items()}
        background = {BACKGROUND_ID: BACKGROUND} if self.has_background else {}
        return dict(sorted((background | named).items()))

    def __len__(self) -> int:
        return len(self._by_id())

    def find(self, class_name: str) -> int | None:
        """Return the label of a class; case, spaces and hyphens do not count."""
        keys = [name_key(name) for name in self.names]
        key = name_key(class_name)
        return keys.index(key) if key in keys else None

    def encode(self, class_map: ClassMap) -> ClassMap:
        """Turn class ids into labels; 255 stays. Raises InputError for an id of no class."""
        table = np.full(N_VALUES, IGNORE_ID, np.uint8)
        table[list(self.class_ids)] = np.arange(len(self))
        labels = cv2.LUT(class_map, table)
        unknown = (labels == IGNORE_ID) & (class_map != IGNORE_ID)
        if unknown.any():
            known = ", ".join(map(str, self.class_ids[:30]))
            raise InputError(
                f"expected the class ids {known} or 255, got {class_map[unknown].min()}"
            )
        return labels

    def decode(self, labels: UInt8[np.ndarray, "h w"]) -> ClassMap:
        """Turn labels of the network into class ids; 255 stays."""
        table = np.full(N_VALUES, IGNORE_ID, np.uint8)
        table[: len(self)] = self.class_ids
        return cv2.LUT(labels, table)
