import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.draw import (
    GUTTER_PX,
    contact_sheet,
    display_palette,
    fit,
    fitting,
    font,
    heat_overlay,
    legend,
    overlay,
    shrink,
)
from diffumask.draw.layers import HATCH_LEVELS, contour_px

PALETTE = display_palette([3, 8])
PRINTABLE = st.characters().filter(str.isprintable)


def grey(height, width, level=100):
    return np.full((height, width, 3), level, np.uint8)


def block(height=16, width=20):
    """A picture with a class 3 in rows 3 to 12 and columns 4 to 15, and its colour."""
    class_map = np.zeros((height, width), np.uint8)
    class_map[3:13, 4:16] = 3
    return grey(height, width), class_map


@pytest.mark.parametrize("dims", [False, True])
def test_a_contour_is_2_px_of_the_full_colour_inside_its_class(dims):
    image, class_map = block()
    drawn = overlay(image, class_map, PALETTE, dims)
    ring = class_map == 3
    ring[5:11, 6:14] = False
    assert (drawn[ring] == PALETTE[3]).all()
    assert not (drawn[~ring] == PALETTE[3]).all(axis=1).any()
    assert (image == 100).all()


def test_a_tinted_overlay_leaves_the_background():
    image, class_map = block()
    drawn = overlay(image, class_map, PALETTE)
    assert (drawn[class_map == 0] == 100).all()
    expected = 0.6 * 100 + 0.4 * PALETTE[3].astype(float)
    np.testing.assert_allclose(drawn[8, 10], expected, atol=1)


def test_a_dimmed_overlay_leaves_the_object_within_its_contour():
    image, class_map = block()
    image[8, 10] = (1, 2, 3)
    drawn = overlay(image, class_map, PALETTE, dims=True)
    np.testing.assert_array_equal(drawn[5:11, 6:14], image[5:11, 6:14])
    assert (drawn[class_map == 0] == 30).all()


def test_neighbours_have_a_contour_each_and_the_frame_of_the_picture_is_no_edge():
    class_map = np.repeat(np.array([[3] * 6 + [8] * 6], np.uint8), 9, axis=0)
    drawn = overlay(grey(9, 12), class_map, PALETTE, dims=True)
    assert (drawn[:, 4:6] == PALETTE[3]).all()
    assert (drawn[:, 6:8] == PALETTE[8]).all()
    assert (drawn[:, [0, 1, 2, 3, 8, 9, 10, 11]] == 100).all()


@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("dims", [False, True])
def test_what_is_uncertain_is_hatched_on_any_picture(level, dims):
    image, class_map = grey(9, 20, level), np.zeros((9, 20), np.uint8)
    class_map[2:7] = 255
    drawn = overlay(image, class_map, PALETTE, dims)
    stripes = np.unique(drawn[2:7])
    assert len(stripes) == 2
    assert stripes[1] - stripes[0] > 100
    assert (drawn[:2] == drawn[0, 0]).all()


@pytest.mark.parametrize("dims", [False, True])
def test_a_picture_without_a_mask_is_left_or_dimmed_whole(dims):
    drawn = overlay(grey(3, 4), np.zeros((3, 4), np.uint8), PALETTE, dims)
    assert (drawn == (30 if dims else 100)).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (3, 2)])
def test_small_and_full_masks_are_drawn(size_hw):
    drawn = overlay(grey(*size_hw), np.full(size_hw, 8, np.uint8), PALETTE, dims=True)
    assert (drawn == 100).all()  # without an edge


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((16, 20), 2), ((512, 384), 2), ((768, 512), 3), ((1024, 1024), 4), ((300, 2048), 8)],
)
def test_contours_are_wider_in_large_pictures(size_hw, expected):
    assert contour_px(*size_hw) == expected
    class_map = np.zeros(size_hw, np.uint8)
    class_map[:, : size_hw[1] // 2] = 3
    drawn = overlay(grey(*size_hw), class_map, PALETTE, dims=True)
    assert (drawn[0] == PALETTE[3]).all(axis=1).sum() == expected


def test_a_heat_overlay_is_blue_where_cold_and_red_where_hot():
    heat = np.zeros((2, 3), np.float32)
    heat[0, 0] = 0.9
    drawn = heat_overlay(grey(2, 3), heat).astype(int)
    assert drawn[0, 0, 0] > drawn[0, 0, 2]
    assert drawn[1, 1, 2] > drawn[1, 1, 0]


@pytest.mark.parametrize(
    ("size_hw", "small_hw"),
    [((4, 8), (2, 4)), ((8, 4), (4, 2)), ((3, 4), (3, 4)), ((1, 90), (1, 4))],
)
def test_shrinking_keeps_the_shape_and_never_enlarges(size_hw, small_hw):
    assert shrink(grey(*size_hw), 4).shape == (*small_hw, 3)


@pytest.mark.parametrize(
    ("size_hw", "fitted"), [((4, 8), (3, 6)), ((2, 1), (6, 3)), ((6, 6), (6, 6))]
)
def test_fitting_makes_the_longer_side_as_long_as_asked(size_hw, fitted):
    assert fit(grey(*size_hw), 6).shape == (*fitted, 3)
    labels = np.full(size_hw, 255, np.uint8)
    labels[:, 0] = 7
    assert fit(labels, 6).shape == fitted
    assert set(np.unique(fit(labels, 6))) == set(np.unique(labels))


def test_a_sheet_puts_groups_side_by_side_and_fills_with_white():
    groups = [[grey(2, 3, level), grey(2, 3, level + 1)] for level in (10, 20, 30)]
    sheet = contact_sheet(groups, columns=2)
    assert sheet.shape == (2 * (2 + GUTTER_PX) + GUTTER_PX, 2 * (6 + GUTTER_PX) + GUTTER_PX, 3)
    top, left = GUTTER_PX, GUTTER_PX
    assert sheet[top, left : left + 6, 0].tolist() == [10] * 3 + [11] * 3
    assert sheet[top, left + 6 + GUTTER_PX, 0] == 20
    assert sheet[top + 2 + GUTTER_PX, left, 0] == 30
    assert (sheet[top + 2 + GUTTER_PX :, left + 6 :] == 255).all()


def test_groups_of_other_sizes_have_the_place_of_the_largest():
    sheet = contact_sheet([[grey(2, 3)], [grey(5, 1)]], columns=2)
    assert sheet.shape == (5 + 2 * GUTTER_PX, 2 * 3 + 3 * GUTTER_PX, 3)
    assert (sheet[GUTTER_PX + 2 :, : GUTTER_PX + 3] == 255).all()
    assert (sheet[GUTTER_PX : GUTTER_PX + 5, 2 * GUTTER_PX + 3] == 100).all()


def test_a_sheet_is_no_wider_than_its_groups():
    assert contact_sheet([[grey(2, 3)]], columns=4).shape == (
        2 + 2 * GUTTER_PX,
        3 + 2 * GUTTER_PX,
        3,
    )


@pytest.mark.parametrize(("groups", "columns"), [([], 2), ([[grey(2, 3)]], 0)])
def test_a_sheet_of_nothing_is_refused(groups, columns):
    with pytest.raises(ValueError, match="expected pictures and columns >= 1"):
        contact_sheet(groups, columns)


def rows_with(picture, colour):
    return np.flatnonzero((picture == colour).all(axis=2).any(axis=1))


@pytest.mark.parametrize("width_px", [60, 130, 900])
def test_a_legend_has_a_whole_swatch_of_each_class_in_its_width(width_px):
    names = {3: "bird", 8: "a very long name of a class", 255: "uncertain"}
    drawn = legend(names, PALETTE, width_px)
    assert drawn.shape == (drawn.shape[0] // 24 * 24, width_px, 3)
    for class_id in (3, 8):
        assert (drawn == PALETTE[class_id]).all(axis=2).sum() == 15 * 15
    assert len(drawn) == (24 if width_px == 900 else 3 * 24)
    assert (drawn == HATCH_LEVELS[0]).all(axis=2).sum() > 50


def test_a_legend_of_nothing_has_no_height():
    assert legend({}, PALETTE, 50).shape == (0, 50, 3)


@given(st.text(PRINTABLE, max_size=30), st.integers(0, 200))
def test_a_text_is_cut_to_its_width(text, width_px):
    shown = fitting(text, width_px)
    assert font().getlength(shown) <= width_px
    assert shown == text or shown == "" or (shown[-1] == "…" and text.startswith(shown[:-1]))


def test_what_cannot_be_printed_is_a_space():
    assert fitting("a\nb\ud800c\x00", 200) == "a b c "
