import numpy as np
import pytest

from diffumask.masks.scores import area, border, contrast, score, stability

SHAPE = (6, 9)


def box(rows, columns):
    mask = np.zeros(SHAPE, bool)
    mask[rows, columns] = True
    return mask


INSIDE = box(slice(2, 4), slice(3, 6))


def test_a_sharp_edge_is_stable_and_a_ramp_is_not():
    ramp = np.tile(np.linspace(0, 1, 9, dtype=np.float32), (6, 1))
    assert stability(INSIDE.astype(np.float32), 0.5) == 1
    assert 0 < stability(ramp, 0.5) < 1
    assert stability(np.zeros(SHAPE, np.float32), 0.5) == 0


def test_contrast_is_the_step_from_outside_to_inside():
    heat = np.where(INSIDE, 0.9, 0.2).astype(np.float32)
    assert contrast(heat, INSIDE) == pytest.approx(0.7)
    assert contrast(1 - heat, INSIDE) == 0
    for fill in (False, True):
        assert contrast(heat, np.full(SHAPE, fill)) == 0


def test_ordinary_areas_score_full_and_extreme_ones_nothing():
    assert area(INSIDE) == 1
    assert area(box(0, 0)) == pytest.approx(1 / 54 / 0.02)
    assert area(np.zeros(SHAPE, bool)) == 0
    assert area(np.ones(SHAPE, bool)) == 0


def test_border_counts_the_pixels_at_the_edge_of_the_image():
    assert border(INSIDE) == 1
    assert border(np.ones(SHAPE, bool)) == 0
    assert border(box(0, slice(0, 9))) == pytest.approx(1 - 9 / 26)


def test_several_words_have_the_score_of_the_worst():
    labels = INSIDE.astype(np.uint8)
    labels[5, 8] = 2
    heats = np.stack([labels == 1, labels == 2]).astype(np.float32)
    scores = score(heats, [0.5, 0.5], labels, labels)
    assert set(scores) == {"stability", "contrast", "agreement", "area", "border"}
    assert scores["agreement"] == scores["contrast"] == scores["stability"] == 1
    assert scores["area"] == pytest.approx(1 / 54 / 0.02, abs=1e-6)
    assert scores["border"] == pytest.approx(1 - 1 / 26, abs=1e-6)


def test_agreement_is_what_refinement_left():
    labels = INSIDE.astype(np.uint8)
    wider = box(slice(2, 4), slice(3, 7)).astype(np.uint8)
    heats = INSIDE[None].astype(np.float32)
    assert score(heats, [0.5], wider, labels)["agreement"] == 0.75


def test_a_word_without_a_pixel_scores_nothing():
    nothing = np.zeros(SHAPE, np.uint8)
    scores = score(np.zeros((1, *SHAPE), np.float32), [1.0], nothing, nothing)
    assert {name: value for name, value in scores.items() if value} == {"border": 1.0}
