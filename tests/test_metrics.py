"""Counts of pixels and what follows from them, and outlines, on masks written out by hand."""

import numpy as np
import pytest

from diffumask.metrics import (
    boundary_f,
    boundary_tolerance_px,
    class_ious,
    confusion_matrix,
    iou,
)


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


def slow_boundary_f(mask, truth, tolerance_px):
    """Go through all pairs of outline pixels."""

    def outline(pixels):
        h, w = pixels.shape
        return [
            (y, x)
            for y, x in np.argwhere(pixels)
            for near_y, near_x in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= near_y < h and 0 <= near_x < w and not pixels[near_y, near_x]
        ]

    def share_near(ones, others):
        near = [min(np.hypot(y - v, x - u) for v, u in others) <= tolerance_px for y, x in ones]
        return np.mean(near)

    ones, others = set(outline(mask)), set(outline(truth))
    precision, recall = share_near(ones, others), share_near(others, ones)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("tolerance_px", [0.0, 1.0, 1.36, 2.5])
def test_boundary_f_is_that_of_all_pairs_of_outline_pixels(tolerance_px):
    rng = np.random.default_rng(0)
    for size_hw in ((5, 9), (12, 7)):
        mask, truth = rng.random((2, *size_hw)) < 0.6
        expected = slow_boundary_f(mask, truth, tolerance_px)
        assert boundary_f(mask, truth, tolerance_px) == pytest.approx(expected)


def test_boundary_f_forgives_a_shift_within_the_tolerance():
    truth = np.zeros((9, 14), bool)
    truth[2:6, 3:8] = True
    shifted = np.roll(truth, 2, axis=1)
    assert boundary_f(truth, truth, 0.0) == 1
    assert boundary_f(shifted, truth, 2.0) == 1
    assert boundary_f(shifted, truth, 1.0) < 0.8
    assert boundary_f(np.roll(truth, 1, axis=0), truth, 1.0) == 1


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        ([[0, 0, 0]], [[0, 0, 0]], 1.0),
        ([[1, 1, 1]], [[1, 1, 1]], 1.0),
        ([[1, 1, 1]], [[0, 0, 0]], 0.0),
        ([[0, 0, 0]], [[0, 1, 0]], 0.0),
        ([[0, 1, 0]], [[1, 1, 1]], 0.0),
        ([[1, 0, 0]], [[0, 0, 1]], 0.0),
    ],
)
def test_boundary_f_of_masks_without_outline_or_far_apart(mask, truth, expected):
    assert boundary_f(np.array(mask, bool), np.array(truth, bool), 1.0) == expected


def test_the_tolerance_is_a_share_of_the_diagonal():
    assert boundary_tolerance_px((300, 400)) == pytest.approx(3.75)
