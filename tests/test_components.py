from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from diffumask.masks.components import LARGE, drop_cool, drop_small
from diffumask.masks.unary import likeliest


def test_pixels_that_touch_at_a_corner_are_two_components() -> None:
    mask = np.array([[True, False, False], [False, True, True]])
    assert drop_small(mask, 2.0).tolist() == [[False, False, False], [False, True, True]]


@pytest.mark.parametrize("fill", [False, True])
def test_an_empty_and_a_full_mask_stay(fill: bool) -> None:
    mask = np.full((3, 5), fill)
    assert np.array_equal(drop_small(mask, 2.0), mask)


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 9))), st.integers(0, 8))
def test_the_rest_is_left_as_it_was(mask: np.ndarray, min_area_px: int) -> None:
    kept = drop_small(mask, float(min_area_px))
    assert not (kept & ~mask).any()
    assert np.array_equal(drop_small(kept, float(min_area_px)), kept)
    assert min_area_px > 1 or np.array_equal(kept, mask)


MASKS = arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 9)))


@settings(deadline=None)
@given(MASKS, st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 9))
def test_components_are_those_of_scipy(mask, min_area_px, least_warmth, seed):
    heat = np.random.default_rng(seed).random(mask.shape, np.float32)
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    parts = [labels == index for index in range(1, labels.max() + 1)]
    large = [part for part in parts if part.mean() >= LARGE]
    warmest = max((heat[part].mean(dtype=float) for part in large), default=0.0)
    big = [part for part in parts if part.sum() >= min_area_px]
    warm = [part for part in parts if heat[part].mean(dtype=float) >= least_warmth * warmest - 1e-9]
    nothing = np.zeros_like(mask)
    np.testing.assert_array_equal(
        drop_small(mask, float(min_area_px)), reduce(np.logical_or, big, nothing)
    )
    np.testing.assert_array_equal(
        drop_cool(mask, heat, least_warmth), reduce(np.logical_or, warm, nothing)
    )


@given(arrays(np.float32, (4, 3, 5), elements=st.sampled_from([0.0, 0.25, 0.5])), st.integers(1, 4))
def test_the_likeliest_label_is_the_first_of_the_highest(planes, n_labels):
    planes = planes[:n_labels]
    np.testing.assert_array_equal(likeliest(planes), planes.argmax(0))
