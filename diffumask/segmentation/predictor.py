"""A segmentation network of transformers that predicts class maps of a labelled dataset."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.labelled.mapping import LabelMapping
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Image

from .predict import label_maps
from .segmenter import Segmenter, pretrained


@dataclass(frozen=True, slots=True)
class Predictor:
    """Called with an image, predicts its class map; never any of the classes `unknown`."""

    segmenter: Segmenter
    table: UInt8[np.ndarray, " labels"]
    unknown: tuple[str, ...]

    def __call__(self, image: Image) -> ClassMap:
        return self.table[label_maps(self.segmenter, [image])[0]]


def load_predictor(model: str, mapping: LabelMapping, device: str = "auto") -> Predictor:
    """Load a network by its folder or hub id, and match its labels with the classes by name.

    A label may list several words, separated by commas. Other labels become background, or 255
    without one. Raises InputError for what cannot be loaded, and where no label is a class.
    """
    segmenter = pretrained(model, device)
    names = segmenter.label_names
    other = BACKGROUND_ID if mapping.has_background else IGNORE_ID
    table = np.full(max(names) + 1, other, np.uint8)
    known: set[str] = set()
    for label, text in names.items():
        found = [name for name in map(mapping.classes.find, text.split(",")) if name]
        if found:
            table[label] = mapping.classes.ids[found[0]]
            known.add(found[0])
    if not known:
        labels = ", ".join(list(names.values())[:10])
        raise InputError(
            f"expected a network with labels such as {', '.join(list(mapping.classes.ids)[:10])}, "
            f"got {model!r} with {labels}; choose its vocabulary"
        )
    unknown = tuple(name for name in mapping.classes.ids if name not in known)
    return Predictor(segmenter, table, unknown)
