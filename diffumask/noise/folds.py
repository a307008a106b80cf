"""Folds of a cross-validation: of each class the same share in each, whatever the order."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from diffumask.errors import InputError

MIN_FOLDS = 2


def assign_folds(class_of: Mapping[str, str], num_folds: int, seed: int) -> dict[str, int]:
    """Return the fold of each item, in 0..num_folds-1, from the class of each by name.

    The items of a class are dealt out in the order of a hash of their names, starting at a fold
    that differs by class, so that folds differ by one item of a class at most. Raises InputError
    for a class with fewer items than folds.
    """
    if num_folds < MIN_FOLDS:
        raise InputError(f"expected {MIN_FOLDS} folds or more, got {num_folds}")
    by_class: dict[str, list[str]] = defaultdict(list)
    for name, class_name in class_of.items():
        by_class[class_name].append(name)
    folds = {}
    for class_name, names in by_class.items():
        if len(names) < num_folds:
            raise InputError(
                f"expected {num_folds} items or more of {class_name} for {num_folds} folds, got "
                f"{len(names)}; make more, or take fewer folds"
            )
        start = _hash(seed, class_name)
        for rank, name in enumerate(sorted(names, key=lambda name: (_hash(seed, name), name))):
            folds[name] = (start + rank) % num_folds
    return folds


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\x00{text}".encode(), digest_size=8).digest())
