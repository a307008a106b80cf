import numpy as np
import pytest

from diffumask.draw import GUTTER_PX, contact_sheet, heat_overlay, overlay, shrink


def grey(height, width, level=100):
    return np.full((height, width, 3), level, np.uint8)


def test_an_overlay_tints_the_class_outlines_it_and_leaves_the_background():
    image, class_map = grey(5, 7), np.zeros((5, 7), np.uint8)
    class_map[1:4, 2:6] = 3
    drawn = overlay(image, class_map)
    assert tuple(drawn[1, 2]) == (128, 128, 0)  # outline in the pure colour
    assert tuple(drawn[2, 3]) == (114, 114, 50)  # half way between grey and olive
    assert (drawn[class_map == 0] == 100).all()
    assert (image == 100).all()


@pytest.mark.parametrize("class_id", [0, 255])
def test_an_overlay_of_one_value_everywhere(class_id):
    drawn = overlay(grey(3, 4), np.full((3, 4), class_id, np.uint8))
    assert (drawn == 100).all() == (class_id == 0)


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


def test_a_sheet_puts_groups_side_by_side_and_fills_with_white():
    groups = [[grey(2, 3, level), grey(2, 3, level + 1)] for level in (10, 20, 30)]
    sheet = contact_sheet(groups, columns=2)
    assert sheet.shape == (2 * (2 + GUTTER_PX) + GUTTER_PX, 2 * (6 + GUTTER_PX) + GUTTER_PX, 3)
    top, left = GUTTER_PX, GUTTER_PX
    assert sheet[top, left : left + 6, 0].tolist() == [10] * 3 + [11] * 3
    assert sheet[top, left + 6 + GUTTER_PX, 0] == 20
    assert sheet[top + 2 + GUTTER_PX, left, 0] == 30
    assert (sheet[top + 2 + GUTTER_PX :, left + 6 :] == 255).all()


def test_a_sheet_is_no_wider_than_its_groups():
    assert contact_sheet([[grey(2, 3)]], columns=4).shape == (2 + 8, 3 + 8, 3)


@pytest.mark.parametrize(("groups", "columns"), [([], 2), ([[grey(2, 3)]], 0)])
def test_a_sheet_of_nothing_is_refused(groups, columns):
    with pytest.raises(ValueError, match="expected pictures and columns >= 1"):
        contact_sheet(groups, columns)
