"""Counts of pixels and what follows from them, on masks written out by hand."""

import numpy as np
import pytest

from diffumask.metrics import class_ious, confusion_matrix, iou


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        ([[1, 1, 0]], [[1, 1, 0]], 1.0),
        ([[1, 1, 0]], [[0, 1, 1]], 1 / 3),
        ([[1, 0, 0]], [[0, 0, 1]], 0.0),
        ([[0, 0, 0]], [[0, 0, 0]], 1.0),
        ([[1, 1, 1]], [[0, 0, 0]], 0.0),
    ],
)
def test_iou(mask, truth, expected):
    assert iou(np.array(mask, bool), np.array(truth, bool)) == pytest.approx(expected)


def test_confusion_matrix_counts_true_by_predicted_and_skips_255():
    truth = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)
    predicted = np.array([[0, 1, 2], [2, 1, 1]], np.uint8)
    expected = [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert confusion_matrix(predicted, truth, 3).tolist() == expected


def test_class_ious_of_an_absent_class_is_nan():
    ious = class_ious(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]]))
    assert ious[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert np.isnan(ious[2])


def test_class_ious_agree_with_iou_of_each_class():
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, 3, (2, 5, 7)).astype(np.uint8)
    ious = class_ious(confusion_matrix(predicted, truth, 3))
    assert ious.tolist() == pytest.approx([iou(predicted == c, truth == c) for c in range(3)])
