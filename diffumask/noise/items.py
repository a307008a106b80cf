"""What filtering knows of an item before any network: its classes, their areas and its scores."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.decode import read_class_map
from diffumask.dataset.names import MASK, file_paths
from diffumask.dataset.pair import class_ids
from diffumask.files.inside import read_inside

DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class MaskSummary:
    """An item of a dataset, without its pixels.

    `class_name` is the class it was made for, among whose items it is ranked. `areas` has the
    share of the image of every class that the mask shows or the prompt names, 0 for a class that
    the mask lacks. `mask_digest` is that of the mask's file.
    """

    name: str
    class_name: str
    areas: Mapping[str, float]
    scores: Mapping[str, float]
    mask_digest: str

    @property
    def is_empty(self) -> bool:
        """Whether no pixel of the mask has a class."""
        return not any(self.areas.values())


def summarize_masks(source: Dataset) -> list[MaskSummary]:
    """Read the masks of all items; their images are not read.

    Raises InputError for a bad mask.
    """
    names = {class_id: name for name, class_id in source.run.classes.items()}
    with ThreadPoolExecutor() as pool:
        return list(
            pool.map(lambda position: _summary(source, position, names), range(len(source)))
        )


def digest(*parts: object) -> str:
    """Hash values that JSON knows."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=DIGEST_BYTES).hexdigest()


def names_digest(names: Sequence[str]) -> str:
    """Hash names, whatever their order."""
    return digest(sorted(names))


def _summary(source: Dataset, position: int, names: Mapping[int, str]) -> MaskSummary:
    record = source.records[position]
    mask = read_class_map(source.folder, record)
    found = {target.class_id for target in record.prompt.targets} | set(class_ids(mask))
    # A label without a name is refused by `Dataset.check`, which comes before any training.
    areas = {
        names[class_id]: float(np.mean(mask == class_id))
        for class_id in sorted(found)
        if class_id in names
    }
    content = read_inside(source.folder, file_paths(record.name)[MASK])
    file_digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    return MaskSummary(record.name, record.class_name, areas, record.scores, file_digest)
