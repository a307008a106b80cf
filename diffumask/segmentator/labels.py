"""Which labels a head gets: those class ids that its training masks hold."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diffumask.errors import InputError
from diffumask.labelled.folder import Labelled
from diffumask.labelled.labels import Labels
from diffumask.labelled.mapping import N_VALUES, LabelMapping
from diffumask.types import BACKGROUND, BACKGROUND_ID


def labels_of(names: Mapping[int, str]) -> Labels:
    """Return the labels of classes that are named by their ids, background being one of them."""
    has_background = names.get(BACKGROUND_ID) == BACKGROUND
    others = {name: i for i, name in names.items() if not (has_background and i == BACKGROUND_ID)}
    return Labels(others, has_background)


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
    return labels_of(names)
