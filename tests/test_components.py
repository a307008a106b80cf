import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffumask.masks.components import drop_small


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
