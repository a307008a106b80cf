import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffumask.binarize import METHODS, binarize, drop_small, find_threshold

HEAT = np.array([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]], dtype=np.float32)


def test_what_lies_above_a_fixed_threshold_is_foreground() -> None:
    assert binarize(HEAT, 0.5).tolist() == [[False, False, False], [True, True, True]]


def test_the_threshold_itself_is_background() -> None:
    heat = np.array([[0.5, 1.0]], dtype=np.float32)
    assert binarize(heat, 0.5).tolist() == [[False, True]]


@pytest.mark.parametrize("threshold", [0.0, 0.45, 1.0, "otsu"])
def test_a_heat_map_of_zeros_gives_an_empty_mask(threshold: float | str) -> None:
    assert not binarize(np.zeros((3, 5), np.float32), threshold).any()


def test_threshold_zero_keeps_all_that_is_hot_at_all() -> None:
    assert binarize(np.full((3, 5), 0.1, np.float32), 0.0).all()


def test_otsu_parts_two_groups() -> None:
    heat = np.array([[0.1, 0.12, 0.15, 0.8], [0.1, 0.11, 0.9, 1.0]], dtype=np.float32)
    assert 0.15 <= find_threshold(heat, "otsu") < 0.8
    assert binarize(heat, "otsu").tolist() == [[False] * 3 + [True], [False] * 2 + [True] * 2]


def test_otsu_is_the_best_of_all_thresholds() -> None:
    heat = np.random.default_rng(0).beta(0.5, 0.8, (9, 13)).astype(np.float32)

    def variance_between(threshold: float) -> float:
        above = heat > threshold
        if above.all() or not above.any():
            return 0.0
        share = above.mean()
        return float(share * (1 - share) * (heat[above].mean() - heat[~above].mean()) ** 2)

    best = max(variance_between(float(t)) for t in heat.ravel())
    assert variance_between(find_threshold(heat, "otsu")) >= 0.99 * best


def test_the_found_threshold_gives_the_same_mask_as_its_method() -> None:
    threshold = find_threshold(HEAT, "otsu")
    assert np.array_equal(binarize(HEAT, threshold), binarize(HEAT, "otsu"))


def test_components_below_the_area_are_dropped() -> None:
    heat = np.zeros((10, 20), np.float32)
    heat[1:3, 1:3] = 1  # 4 pixels of 200
    heat[5:9, 5:9] = 1  # 16 pixels
    assert binarize(heat, 0.5, min_area=0.02).sum() == 20
    assert binarize(heat, 0.5, min_area=0.021).sum() == 16
    assert binarize(heat, 0.5, min_area=0.1).sum() == 0


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


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\['otsu'\], got 'magic'"):
        binarize(HEAT, "magic")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold in"):
        binarize(HEAT, threshold)


def test_a_min_area_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="min_area"):
        binarize(HEAT, 0.5, min_area=2.0)


def test_every_method_leaves_its_argument_alone() -> None:
    for find in METHODS.values():
        before = HEAT.copy()
        find(HEAT)
        assert np.array_equal(HEAT, before)
