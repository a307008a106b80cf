"""Agreement of masks: one place counts pixels, every figure is a short function of the counts."""

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from diffumask.types import IGNORE_ID, Mask


def iou(mask: Mask, truth: Mask) -> float:
    """Return intersection over union of two masks; two empty masks agree fully (1.0)."""
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def confusion_matrix(
    predicted: UInt8[np.ndarray, "*shape"], truth: UInt8[np.ndarray, "*shape"], num_classes: int
) -> Int64[np.ndarray, "c c"]:
    """Count pixels by [true class, predicted class]; pixels whose truth is 255 do not count."""
    counted = truth != IGNORE_ID
    pairs = truth[counted].astype(np.int64) * num_classes + predicted[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_ious(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, " c"]:
    """Return the IoU of each class from summed counts; NaN for a class that never occurs."""
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
