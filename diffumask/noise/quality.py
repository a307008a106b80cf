"""How far a prediction confirms a mask: a number in [0, 1] for each class of the item."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from diffumask.errors import InputError
from diffumask.metrics import iou as iou_of_masks
from diffumask.types import IGNORE_ID, ClassMap

EXTRA = "noise"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A mask, and what a network that was not trained on it predicts.

    `labels` is the mask in the labels of the network, 0 to c - 1; 255 is ignored in both.
    """

    class_map: ClassMap
    labels: UInt8[np.ndarray, "h w"]
    predicted: ClassMap
    probabilities: Float32[np.ndarray, "c h w"]


Method = Callable[[HeldOut, Sequence[int]], Mapping[int, float]]


def iou(held_out: HeldOut, class_ids: Sequence[int]) -> dict[int, float]:
    """Return the IoU of mask and prediction for each class (Q of Wu et al. 2023).

    Pixels of 255 do not count. A class that neither has agrees fully (1.0).
    """
    counted = held_out.class_map != IGNORE_ID
    mask, predicted = held_out.class_map[counted][None], held_out.predicted[counted][None]
    return {
        class_id: iou_of_masks(mask == class_id, predicted == class_id) for class_id in class_ids
    }


def confident_learning(held_out: HeldOut, class_ids: Sequence[int]) -> dict[int, float]:
    """Return cleanlab's label quality of the image, the same for each of its classes.

    The soft minimum over pixels of the probability of their own label (Lad & Mueller 2023).
    cleanlab knows no ignored pixels: it gets only those that count, as an image of one row; an
    image without any has quality 0.
    """
    rank = _cleanlab_rank()
    counted = held_out.labels != IGNORE_ID
    if not counted.any():
        return dict.fromkeys(class_ids, 0.0)
    labels = held_out.labels[counted].astype(np.int64)[None, None]
    probabilities = held_out.probabilities[:, counted][None, :, None]
    (score,), _ = rank.get_label_quality_scores(labels, probabilities, verbose=False)
    return dict.fromkeys(class_ids, float(score))


METHODS: Mapping[str, Method] = {"iou": iou, "confident-learning": confident_learning}


def check_method(name: str) -> None:
    """Raise InputError for a method that there is not, or whose library is missing."""
    if name not in METHODS:
        raise InputError(f"expected the method {' or '.join(METHODS)}, got {name!r}")
    if METHODS[name] is confident_learning:
        _cleanlab_rank()


def _cleanlab_rank():  # type: ignore[no-untyped-def]
    try:
        from cleanlab.segmentation import rank
    except ImportError as error:
        raise InputError(
            f"expected cleanlab for confident-learning, got {error}; pip install "
            f"'diffumask[{EXTRA}]'"
        ) from error
    return rank
