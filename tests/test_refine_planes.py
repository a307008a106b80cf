"""Hard labels become probabilities with the odds asked for."""

import numpy as np
import pytest

from diffumask.masks.refine.planes import from_labels, normalised

LABELS = np.array([[[0, 1, 2], [2, 2, 0]]])


def test_given_label_has_the_confidence_and_the_others_share_the_rest():
    planes = from_labels(LABELS, 3, 0.8)
    assert planes.dtype == np.float32
    assert planes.shape == (1, 3, 2, 3)
    np.testing.assert_allclose(planes[0, :, 0, 1], [0.1, 0.8, 0.1])
    np.testing.assert_array_equal(planes.argmax(1), LABELS)
    np.testing.assert_allclose(planes.sum(1), 1, rtol=1e-6)


def test_odds_of_the_released_code():
    """gt_prob 0.5 over 21 labels is 20 : 1, which two labels say with a confidence of 20/21."""
    of_21 = from_labels(LABELS, 21, 0.5)[0, :2, 0, 0]
    of_2 = from_labels(LABELS % 2, 2, 20 / 21)[0, :, 0, 0]
    np.testing.assert_allclose(of_21[0] / of_21[1], 20, rtol=1e-5)
    np.testing.assert_allclose(of_2[0] / of_2[1], 20, rtol=1e-5)


def test_one_label_is_certain_and_no_candidates_stay_none():
    np.testing.assert_array_equal(from_labels(LABELS * 0, 1, 0.5), np.ones((1, 1, 2, 3)))
    assert from_labels(LABELS[:0], 3, 0.5).shape == (0, 3, 2, 3)


@pytest.mark.parametrize(
    ("n_labels", "confidence", "message"),
    [
        (0, 0.5, "at least one"),
        (2, 0.5, r"labels in 0\.\.1, got 0\.\.2"),
        (3, 0.3, "confidence"),
        (3, 1.0, "confidence"),
        (3, float("nan"), "confidence"),
    ],
)
def test_out_of_range_is_refused(n_labels, confidence, message):
    with pytest.raises(ValueError, match=message):
        from_labels(LABELS, n_labels, confidence)


def test_negative_labels_are_refused():
    with pytest.raises(ValueError, match="got -1"):
        from_labels(LABELS - 1, 3, 0.5)


def test_planes_are_clipped_and_sum_to_one_and_nothing_is_background():
    planes = np.array([[1.5, -0.2, 0.0], [1.0, -0.1, 0.0]], np.float32).reshape(1, 2, 1, 3)
    np.testing.assert_allclose(normalised(planes)[0, :, 0], [[0.5, 1, 1], [0.5, 0, 0]])
