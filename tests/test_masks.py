from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from slow_reference import area_mean as slow_area_mean

from diffumask.errors import InputError
from diffumask.masks.area_mean import area_mean
from diffumask.masks.class_map import NO_PIXEL, make_class_map, make_class_maps
from diffumask.masks.enlarge import enlarge
from diffumask.masks.refine import REFINERS
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Adaptive, Fixed, Otsu
from diffumask.masks.unary import label_probabilities
from diffumask.types import Prompt, Sample, Target

BIRD, PLANT = Target("bird", "bird", 3), Target("potted plant", "potted plant", 16)
SIZE_HW = (24, 32)
PLAIN = MaskSettings("attention", Fixed(0.5), "none", uncertain_band=0.0, min_area=0.0)


def sample(*heats, affinities=(), image=None):
    targets = (BIRD, PLANT)[: len(heats)]
    prompt = Prompt("a bird and a potted plant on grass", targets)
    words = [target.word for target in targets]
    if image is None:
        image = np.full((*SIZE_HW, 3), 90, np.uint8)
    maps = [heat.astype(np.float32) for heat in heats]
    given = dict(zip(words, affinities, strict=False))
    return Sample(prompt, 0, image, dict(zip(words, maps, strict=True)), given)


def box(top, left, bottom, right, shape=SIZE_HW, value=1.0):
    heat = np.zeros(shape, np.float32)
    heat[top:bottom, left:right] = value
    return heat


def test_the_class_is_where_the_heat_is_above_the_threshold():
    masked = make_class_map(sample(box(4, 6, 12, 20)), PLAIN)
    np.testing.assert_array_equal(masked.class_map, box(4, 6, 12, 20) * 3)
    assert masked.thresholds == [0.5]
    assert masked.foreground == 8 * 14 / (24 * 32)


def test_heat_on_a_coarse_grid_is_enlarged_to_the_image():
    masked = make_class_map(sample(box(1, 2, 2, 3, shape=(3, 4))), PLAIN)
    assert masked.class_map.shape == SIZE_HW
    rows, columns = np.nonzero(masked.class_map)
    assert (rows.mean().round(), columns.mean().round()) == (12, 20)


@given(arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32)))
def test_enlarged_heat_peaks_at_one_or_is_nothing(heat):
    enlarged = enlarge(heat, (7, 16))
    assert enlarged.shape == (7, 16)
    assert enlarged.min() >= 0
    assert enlarged.max() == (1 if (heat > 1e-30).any() else enlarged.max())


@pytest.mark.parametrize("size_hw", [(4, 6), (3, 5), (4, 24), (16, 6)])
def test_heat_between_the_pixels_of_a_smaller_image_counts(size_hw):
    heat = np.random.default_rng(0).random((8, 12), np.float32)
    near = min(8, size_hw[0]), min(12, size_hw[1])
    averaged = slow_area_mean(torch.from_numpy(heat), near).numpy()
    expected = cv2.resize(averaged, size_hw[::-1], interpolation=cv2.INTER_CUBIC).clip(min=0)
    np.testing.assert_allclose(enlarge(heat, size_hw), expected / expected.max(), atol=1e-5)


def test_heat_of_an_image_that_is_larger_is_not_averaged():
    heat = np.random.default_rng(0).random((3, 5), np.float32)
    np.testing.assert_array_equal(area_mean(heat, (7, 16)), heat)
    np.testing.assert_array_equal(area_mean(heat, (3, 16)), heat)


def test_two_words_give_a_map_of_two_classes():
    heats = box(2, 2, 10, 10), box(12, 16, 22, 30)
    class_map = make_class_map(sample(*heats), PLAIN).class_map
    np.testing.assert_array_equal(class_map, heats[0] * 3 + heats[1] * 16)


def test_a_word_of_which_no_pixel_is_left_is_absent_and_the_reason_is_said():
    settings = replace(PLAIN, min_area=0.01)
    masked = make_class_map(sample(box(2, 2, 10, 10), box(12, 16, 13, 17)), settings)
    assert masked.absent == {"potted plant": NO_PIXEL}
    assert make_class_map(sample(box(2, 2, 10, 10), box(12, 16, 22, 30)), PLAIN).absent == {}


def test_where_two_words_overlap_the_one_further_above_its_threshold_wins():
    first, second = box(0, 0, 24, 20), box(0, 12, 24, 32)
    first[:, 12:20], second[:, 12:20] = 0.8, 0.7
    class_map = make_class_map(sample(first, second), PLAIN).class_map
    assert (class_map[:, :20] == 3).all()
    assert (class_map[:, 20:] == 16).all()


def test_a_word_with_a_low_threshold_of_its_own_is_not_pushed_aside():
    heats = np.array([[[0.6, 0.2]], [[0.5, 0.5]]], np.float32)
    probabilities = label_probabilities(heats, [[0.5, 0.6], [0.5, 0.2]])
    assert probabilities.argmax(1).tolist() == [[[1, 0]], [[2, 2]]]
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_a_pixel_at_the_threshold_is_undecided_and_without_heat_is_background():
    heat = np.array([[[0.0, 0.5, 1.0]]], np.float32)
    (of_object,) = label_probabilities(heat, [[0.5]])[:, 1]
    expected = [[1 / (1 + np.exp(5)), 0.5, 1 / (1 + np.exp(-5))]]
    np.testing.assert_allclose(of_object, expected, rtol=1e-4)
    assert label_probabilities(heat, [[0.0]]).argmax(1).tolist() == [[[0, 1, 1]]]


def test_pixels_whose_label_hangs_on_the_threshold_are_ignored():
    heat = box(4, 6, 12, 20)
    heat[12:14, 6:20] = 0.49
    heat[2:4, 6:20] = 0.52
    settings = MaskSettings("attention", Fixed(0.5), "none", uncertain_band=0.05, min_area=0.0)
    class_map = make_class_map(sample(heat), settings).class_map
    assert (class_map[heat == 1] == 3).all()
    assert (class_map[(heat > 0) & (heat < 1)] == 255).all()
    assert (class_map[heat == 0] == 0).all()


def test_specks_are_dropped_and_holes_are_kept():
    heat = box(4, 6, 18, 20)
    heat[8:11, 10:13] = 0
    speck = heat.copy()
    speck[22, 30] = 1
    settings = MaskSettings("attention", Fixed(0.5), "none", uncertain_band=0.0, min_area=0.01)
    np.testing.assert_array_equal(make_class_map(sample(speck), settings).class_map, heat * 3)


@pytest.mark.parametrize("method", [Fixed(0.0), Fixed(0.5), Otsu(), Adaptive()])
@pytest.mark.parametrize("refiner", ["none", "crf"])
def test_a_cold_map_gives_no_pixel(method, refiner):
    cold = np.zeros((3, 4), np.float32)
    masked = make_class_map(
        sample(cold, affinities=[cold]), MaskSettings("attention", method, refiner)
    )
    assert not masked.class_map.any()
    assert masked.scores["area"] == masked.scores["contrast"] == 0
    assert masked.foreground == 0


@pytest.mark.parametrize("refiner", ["none", "crf"])
def test_heat_everywhere_is_all_foreground(refiner):
    masked = make_class_map(sample(np.ones((3, 4))), MaskSettings("attention", Fixed(0.5), refiner))
    assert (masked.class_map == 3).all()
    assert masked.scores["contrast"] == masked.scores["area"] == masked.scores["border"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_heat_that_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="finite heat, got nan or infinity"):
        make_class_map(sample(box(0, 0, 3, 3, value=value)), PLAIN)


def test_an_object_of_one_pixel_is_kept_where_nothing_is_a_speck():
    assert make_class_map(sample(box(5, 6, 6, 7)), PLAIN).class_map.sum() == 3


def test_a_grey_image_is_an_image():
    grey = np.repeat(np.arange(24 * 32, dtype=np.uint32).reshape(24, 32, 1) % 256, 3, 2)
    one = sample(box(4, 6, 12, 20), image=grey.astype(np.uint8))
    class_map = make_class_map(one, MaskSettings("attention", Fixed(0.5))).class_map
    assert set(np.unique(class_map)) <= {0, 3, 255}


def test_adaptive_reads_the_affinity_of_the_sample_or_that_of_a_network():
    heat = np.tile(np.linspace(1, 0, 32, dtype=np.float32), (24, 1))
    narrow, wide = box(0, 0, 24, 13), box(0, 0, 24, 19)
    settings = MaskSettings("attention", Adaptive("none"), "none")
    of_sample = make_class_map(sample(heat, affinities=[narrow]), settings)
    of_network = make_class_map(
        sample(heat, affinities=[narrow]),
        MaskSettings("attention", Adaptive("none"), "none", affinity_of=lambda image, heat: wide),
    )
    assert of_network.thresholds[0] < of_sample.thresholds[0]


def test_the_heat_may_be_that_after_propagation():
    narrow, wide = box(0, 0, 24, 13), box(0, 0, 24, 19)
    plain = MaskSettings("affinity", Fixed(0.5), "none", uncertain_band=0.0)
    class_map = make_class_map(sample(narrow, affinities=[wide]), plain).class_map
    np.testing.assert_array_equal(class_map, wide * 3)
    with pytest.raises(InputError, match="affinity to threshold, got none"):
        make_class_map(sample(narrow), plain)


@pytest.mark.parametrize("changes", [{"uncertain_band": -0.1}, {"min_area": 2.0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError, match=r"in \[0, 1"):
        MaskSettings(**changes)


def test_the_default_refiner_is_one_of_them():
    assert MaskSettings().refiner in REFINERS


@pytest.mark.parametrize("refiner", ["none", "crf-wide"])
@pytest.mark.parametrize("uncertain_band", [0.0, 0.1])
def test_masks_of_several_thresholds_at_once_are_those_of_each_alone(refiner, uncertain_band):
    rng = np.random.default_rng(0)
    heats = [np.outer(rng.random(6), rng.random(8)) for _ in range(2)]
    image = rng.integers(256, size=(*SIZE_HW, 3), dtype=np.uint8)
    one = sample(*heats, image=image)
    settings = MaskSettings("attention", refiner=refiner, uncertain_band=uncertain_band)
    methods = [Fixed(0.2), Otsu(), Fixed(0.6)]
    together = make_class_maps(one, settings, methods)
    assert len(together) == 3
    for method, masked in zip(methods, together, strict=True):
        alone = make_class_map(one, replace(settings, threshold=method))
        assert masked.thresholds == alone.thresholds
        assert (masked.class_map != alone.class_map).mean() < 0.01
        assert masked.scores["contrast"] == pytest.approx(alone.scores["contrast"], abs=0.01)
    assert len({masked.foreground for masked in together}) == 3


def test_a_rival_takes_its_pixels_to_the_background():
    mine, other = box(2, 2, 20, 20), box(2, 12, 20, 30)
    mine[2:20, 12:20] = 0.8
    one = sample(mine)
    alone = make_class_map(one, PLAIN).class_map
    beside = make_class_map(replace(one, heats={**one.heats, "lamp": other}), PLAIN).class_map
    assert (alone[5:18, 14:18] == 3).all()
    assert not beside[5:18, 14:18].any()
    assert (beside[5:18, 4:10] == 3).all()
    assert set(np.unique(beside)) == {0, 3}


def test_parts_cooler_than_half_the_warmest_are_dropped():
    heat = box(2, 2, 12, 12) + box(2, 20, 12, 30, value=0.45)
    settings = replace(PLAIN, threshold=Fixed(0.3))
    assert not make_class_map(sample(heat), settings).class_map[:, 16:].any()
    kept = make_class_map(sample(heat), replace(settings, least_warmth=0.4)).class_map
    assert (kept[4:10, 22:28] == 3).all()


def test_an_absent_target_leaves_its_pixels_to_those_that_are_there():
    heat = box(4, 6, 12, 20)
    one = replace(sample(heat, 0.9 * heat), presences={"bird": 0.3, "potted plant": 0.6})
    asked = replace(PLAIN, least_presence=0.49)
    masked = make_class_map(one, asked)
    assert set(np.unique(masked.class_map)) == {0, 16}
    assert list(masked.absent) == ["bird"]
    assert masked.scores["presence"] == 0.3
    assert (make_class_map(one, PLAIN).class_map == 3).any()
