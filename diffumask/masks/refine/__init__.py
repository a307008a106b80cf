"""Refiners: label probabilities that follow the edges of the image, by name.

A refiner takes an image and the probabilities of several candidates at once, label 0 being the
background, and returns probabilities of the same shape that sum to 1 over the labels.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from diffumask.types import Image

from .planes import from_labels as from_labels

Probabilities = Float32[np.ndarray, "candidate label h w"]
Refiner = Callable[[Image, Probabilities], Probabilities]


def _imported(module: str, name: str, image: Image, probabilities: Probabilities) -> Probabilities:
    """Refine by a function of a module here, imported now: scipy takes a while."""
    return getattr(import_module(f"{__name__}.{module}"), name)(image, probabilities)


def _none(image: Image, probabilities: Probabilities) -> Probabilities:
    return probabilities.copy()


REFINERS: dict[str, Refiner] = {
    "none": _none,
    "crf": partial(_imported, "crf", "crf"),
    "crf-wide": partial(_imported, "crf", "crf_wide"),
    "guided": partial(_imported, "guided", "guided"),
    "pamr": partial(_imported, "pamr", "pamr"),
}


@lru_cache(maxsize=1)  # a model is loaded once for many images
def _sam(kind: str, folder: str, device: str) -> Refiner:
    from .sam import load_sam

    return load_sam(Path(folder), kind, device)


# These need the folder of a model, and a device: "sam:FOLDER" names what this makes of FOLDER.
MODEL_REFINERS: dict[str, Callable[[str, str], Refiner]] = {
    kind: partial(_sam, kind) for kind in ("sam", "sam2", "sam3")
}


def find_refiner(name: str, device: str = "auto") -> Refiner:
    """Return the refiner of a name: one of `REFINERS`, or "sam:FOLDER" (sam2, sam3).

    Models are on the device, "auto" being the first of cuda, mps and cpu that is there. Raises
    `ValueError` for an unknown name and `InputError` for a folder that holds no such model, or a
    device that cannot be had.
    """
    kind, _, folder = name.partition(":")
    if name in REFINERS:
        return REFINERS[name]
    if kind in MODEL_REFINERS and folder:
        return MODEL_REFINERS[kind](folder, device)
    names = [*REFINERS, *(f"{kind}:FOLDER" for kind in MODEL_REFINERS)]
    raise ValueError(f"expected a refiner of {', '.join(names)}; got {name!r}")


def refine(
    name: str,
    image: Image,
    probabilities: Float32[np.ndarray, "candidate label rows columns"],
    device: str = "auto",
) -> Float32[np.ndarray, "candidate label rows columns"]:
    """Refine all candidates of one image with the refiner of that name; see `find_refiner`.

    Probabilities must be finite and sum to 1 over the labels. No candidates give no candidates,
    and a single label stays certain. Raises `ValueError` where the size of the image differs, or
    where a probability is not finite.
    """
    refiner = find_refiner(name, device)
    if image.shape[:2] != probabilities.shape[2:]:
        sizes = f"{image.shape[:2]} and {probabilities.shape[2:]}"
        raise ValueError(f"expected an image and probabilities of one size, got {sizes}")
    if not np.isfinite(probabilities.sum()):
        raise ValueError("expected finite probabilities, got NaN or infinity")
    if probabilities.size == 0 or probabilities.shape[1] == 1:
        return probabilities.copy()
    return refiner(np.ascontiguousarray(image), np.ascontiguousarray(probabilities))
