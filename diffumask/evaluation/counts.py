"""What is counted of an image, and added up over images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from diffumask.metrics import boundary_f, boundary_tolerance_px, confusion_matrix
from diffumask.types import IGNORE_ID, ClassMap, Mask

N_IDS = 256


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """Agreement on one image: the IoU of each id that either class map shows in it."""

    pixels: int
    hits: int
    ious: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels by [true id, predicted id], and the boundary F of each class summed over images.

    Row 255 stays empty; column 255 has the pixels that a prediction leaves undecided. `each` has
    the figures of each image, in their order.
    """

    images: int
    confusion: Int64[np.ndarray, "256 256"]
    boundary_sums: Float64[np.ndarray, " 256"]
    boundary_images: Int64[np.ndarray, " 256"]
    each: tuple[ImageFigures, ...] = ()

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.images + other.images,
            self.confusion + other.confusion,
            self.boundary_sums + other.boundary_sums,
            self.boundary_images + other.boundary_images,
            self.each + other.each,
        )


def no_counts() -> Counts:
    """Return the counts of no image."""
    confusion = np.zeros((N_IDS, N_IDS), np.int64)
    return Counts(0, confusion, np.zeros(N_IDS), np.zeros(N_IDS, np.int64))


def count(predicted: ClassMap, truth: ClassMap, outlined: Collection[int]) -> Counts:
    """Compare one image; `outlined` are the ids whose boundary F is wanted.

    Pixels that are 255 in the truth do not count, and for outlines are outside of every class. An
    image counts for the boundary F of the classes that either class map shows in it.
    """
    confusion = confusion_matrix(predicted, truth, N_IDS)
    sums, images = np.zeros(N_IDS), np.zeros(N_IDS, np.int64)
    shown = confusion.any(axis=0) | confusion.any(axis=1)
    tolerance_px = boundary_tolerance_px((truth.shape[0], truth.shape[1]))
    for class_id in sorted(set(np.flatnonzero(shown).tolist()) & set(outlined)):
        both = _cropped(predicted == class_id, truth == class_id)
        sums[class_id] = boundary_f(*both, tolerance_px)
        images[class_id] = 1
    return Counts(1, confusion, sums, images, (_figures(confusion),))


def _figures(confusion: Int64[np.ndarray, "256 256"]) -> ImageFigures:
    true, predicted, hits = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    ids = [i for i in np.flatnonzero(true + predicted).tolist() if i != IGNORE_ID]
    ious = {i: float(hits[i] / (true[i] + predicted[i] - hits[i])) for i in ids}
    return ImageFigures(int(true.sum()), int(hits.sum()), ious)


def _cropped(
    mask: Mask, truth: Mask
) -> tuple[Bool[np.ndarray, "cut_h cut_w"], Bool[np.ndarray, "cut_h cut_w"]]:
    """Cut two masks to where either is, with a pixel around it, in which all outlines lie."""
    either = mask | truth
    window = []
    for axis in (1, 0):
        places = np.flatnonzero(either.any(axis=axis))
        window.append(slice(max(places[0] - 1, 0), places[-1] + 2))
    return mask[tuple(window)], truth[tuple(window)]
