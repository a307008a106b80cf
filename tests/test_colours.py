"""The colours of classes: those of the VOC, and those to look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from diffumask.draw import display_palette, voc_palette
from diffumask.draw.colours import DISPLAY_COLOURS

CLASS_IDS = st.integers(1, 254)
# Linear RGB as eyes without one kind of cone see it: Machado, Oliveira and Fernandes 2009.
WITHOUT_CONES = {
    "red": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "green": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "blue": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def as_seen_without(cones, rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(WITHOUT_CONES[cones]).T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


def nearest(rgb):
    """The smallest CIEDE2000 distance between two of these colours."""
    lab = rgb2lab(rgb[None])[0]
    distances = deltaE_ciede2000(lab[:, None], lab[None])
    return distances[~np.eye(len(rgb), dtype=bool)].min()


def first(count):
    return display_palette(range(1, count + 1))[1 : count + 1] / 255


def test_the_palette_of_files_has_the_official_colours():
    palette = voc_palette()
    assert palette.shape == (256, 3)
    official = {0: (0, 0, 0), 1: (128, 0, 0), 3: (128, 128, 0), 8: (64, 0, 0), 12: (64, 0, 128)}
    official |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {class_id: tuple(palette[class_id].tolist()) for class_id in official} == official
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


@pytest.mark.parametrize(("count", "apart"), [(2, 80), (4, 29), (8, 23), (16, 16), (24, 11)])
def test_the_first_display_colours_are_far_apart(count, apart):
    assert nearest(first(count)) > apart  # 2 can just be told from each other


@pytest.mark.parametrize("cones", WITHOUT_CONES)
def test_eight_display_colours_are_apart_to_eyes_without_a_kind_of_cone(cones):
    assert nearest(as_seen_without(cones, first(8))) > 11


def test_display_colours_are_vivid_and_seen_on_black_and_on_white():
    lightness, a, b = rgb2lab(first(24)[None])[0].T
    assert np.hypot(a, b).min() > 40  # greys have 0
    assert 40 < lightness.min() < lightness.max() < 90


@given(st.lists(CLASS_IDS, unique=True), st.lists(CLASS_IDS))
def test_classes_that_come_later_change_no_colour(class_ids, later):
    before, after = display_palette(class_ids), display_palette([*class_ids, *later])
    np.testing.assert_array_equal(after[class_ids], before[class_ids])


def test_other_ids_are_grey_the_uncertain_light_and_the_background_black():
    palette = display_palette([7])
    assert (palette[0] == 0).all()
    assert palette[8].tolist() == palette[254].tolist() == [128] * 3
    assert palette[255].tolist() == [235] * 3
    assert (display_palette([]) == display_palette([7]))[np.arange(256) != 7].all()


def test_after_the_last_display_colour_comes_the_first():
    count = len(DISPLAY_COLOURS)
    palette = display_palette(range(1, count + 2))
    assert palette[count + 1].tolist() == palette[1].tolist() != palette[2].tolist()
