"""Controls know no text, figures know every object, and intervals hold what they promise."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from diffumask.proof import controls, estimates
from diffumask.proof.figures import figures_of, points, swapped, text_gain
from diffumask.types import Prompt, Sample, Target


def box(top: int, left: int, bottom: int, right: int, hw: tuple[int, int] = (20, 20)) -> np.ndarray:
    mask = np.zeros(hw, bool)
    mask[top:bottom, left:right] = True
    return mask


ASKED, OTHER = box(2, 2, 8, 8), box(12, 12, 18, 18)
TRUTH = (ASKED + 2 * OTHER).astype(np.uint8)


def a_sample(text: str = "a bird and a cat on grass") -> Sample:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 20, 3)).astype(np.uint8)
    word = next(word for word in ("bird", "dog") if word in text)
    heats = {word: rng.random((4, 4)).astype(np.float32), "grass": np.ones((4, 4), np.float32)}
    prompt = Prompt(text, (Target(word, word, 3),))
    return Sample(prompt, 7, image, heats, heats, presences={word: 0.1})


def test_the_mask_of_the_target_alone_is_clean():
    got = figures_of(ASKED, TRUTH)
    assert (got.iou, got.boundary_f, got.takes_other, got.clean, got.empty) == (1, 1, 0, 1, 0)


def test_a_mask_of_both_objects_takes_the_other():
    got = figures_of(ASKED | OTHER, TRUTH)
    assert (got.iou, got.takes_other, got.clean) == (0.5, 1, 0)
    assert figures_of(OTHER, TRUTH, asked=2).clean == 1


def test_a_tenth_of_another_object_is_not_clean_and_not_taken():
    got = figures_of(ASKED | box(12, 12, 13, 18), TRUTH)
    assert (got.takes_other, got.clean) == (0, 0)


def test_a_mask_with_too_little_of_its_target_is_not_clean():
    assert figures_of(box(2, 2, 8, 6), TRUTH).clean == 0  # two thirds


def test_without_another_object_there_is_none_to_take():
    got = figures_of(ASKED, ASKED.astype(np.uint8))
    assert np.isnan([got.takes_other, got.clean]).all()


def test_open_pixels_are_wrong_and_left_out():
    open_px = box(2, 2, 8, 3) | box(0, 0, 1, 6)  # 6 pixels of the target, 6 of the ground
    got = figures_of(ASKED & ~open_px, TRUTH, open_px=open_px)
    assert got.iou == pytest.approx(30 / 42)
    assert (got.hits_px, got.union_px) == (30, 42)
    assert got.iou_decided == 1


def test_pixels_without_truth_do_not_count():
    truth = TRUTH.copy()
    truth[10] = 255
    assert figures_of(ASKED | box(10, 0, 11, 20), truth) == figures_of(ASKED, TRUTH)


def test_an_empty_mask_of_nothing_is_right_and_said_to_be_empty():
    nothing = box(0, 0, 0, 0)
    got = figures_of(nothing, nothing.astype(np.uint8))
    assert (got.iou, got.empty) == (1, 1)
    assert figures_of(nothing, TRUTH).iou == 0


def test_heat_points_by_the_middle_of_its_hottest_cell():
    heat = np.zeros((4, 5), np.float32)
    assert not points(heat, np.ones((20, 20), bool))
    heat[1, 3] = 1  # rows 5 to 9, columns 12 to 15
    assert points(heat, box(7, 14, 8, 15))
    assert not points(heat, ~box(7, 14, 8, 15))
    assert figures_of(ASKED, TRUTH, heat=heat).pointing == 0
    assert np.isnan(figures_of(ASKED, TRUTH).pointing)


def test_masks_are_swapped_where_each_lies_mainly_on_the_other_object():
    assert swapped(OTHER, ASKED, TRUTH)
    assert not swapped(ASKED, OTHER, TRUTH)
    assert not swapped(OTHER, OTHER, TRUTH)
    assert not swapped(ASKED & False, ASKED & False, TRUTH)


def test_text_gain_is_over_the_best_control_item_by_item():
    ours = np.array([0.8, 0.6])
    found = text_gain(ours, {"middle": np.array([0.7, 0.3]), "border": np.array([0.1, 0.8])})
    assert found[0] == "middle"
    assert found[1].tolist() == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize("name", list(controls.HEATS))
def test_control_heat_is_the_same_whatever_the_prompt_asks(name):
    made = []
    for sample in (a_sample(), a_sample("a dog at night, red and blue")):
        heat = controls.HEATS[name](sample.image, (4, 4))
        replaced = controls.with_heat(sample, heat, lambda cells: cells**2)
        word = sample.prompt.targets[0].word
        assert set(replaced.heats) == set(replaced.affinities) == {word}  # and no rival
        assert not replaced.presences
        made.append((replaced.heats[word], replaced.affinities[word]))
    np.testing.assert_array_equal(made[0], made[1])
    assert made[0][0].dtype == np.float32


def test_control_heat_of_attention_is_not_that_of_the_sample():
    sample = a_sample()
    silent = replace(sample, heats={"bird": np.zeros((4, 4), np.float32)}, affinities={})
    heat = controls.border_contrast(sample.image, (4, 4))
    assert controls.with_heat(silent, heat, np.copy).heats["bird"] is heat


def test_the_gaussian_is_hottest_in_the_middle_and_alike_on_all_sides():
    heat = controls.centre_gaussian((5, 9))
    assert np.unravel_index(heat.argmax(), heat.shape) == (2, 4)
    np.testing.assert_allclose(heat, heat[::-1, ::-1], atol=1e-6)


def test_border_contrast_is_hot_where_colour_differs_from_the_border():
    image = np.full((40, 40, 3), (30, 120, 30), np.uint8)
    image[10:20, 20:30] = 220
    heat = controls.border_contrast(image, (4, 4))
    assert (heat > 0.5).nonzero() == (1, 2)
    assert not controls.border_contrast(image[:10], (4, 4)).any()


def test_grabcut_finds_the_thing_in_the_middle():
    image = np.full((40, 40, 3), (30, 120, 30), np.uint8)
    image[12:28, 12:28] = 220
    assert np.array_equal(controls.grabcut(image), box(12, 12, 28, 28, (40, 40)))


@pytest.mark.parametrize(
    ("text", "sub_class", "expected"),
    [
        ("a photo of an owl bird and a cat", "owl", "a photo of an aeroplane and a cat"),
        ("An owl  bird", "owl", "an aeroplane"),
        ("a bird and a bird on grass", "", "an aeroplane and an aeroplane on grass"),
        ("the bird by a blackbird", "", "the aeroplane by a blackbird"),
        ("a red duck bird, bird", "duck", "a red aeroplane, aeroplane"),
    ],
)
def test_the_wrong_word_takes_the_place_of_the_asked_one(text, sub_class, expected):
    cat = (Target("cat", "cat", 8),) if "cat" in text else ()
    asked = Prompt(text, (Target("bird", "bird", 3), *cat), sub_class)
    got = controls.with_wrong_word(asked, "aeroplane")
    assert got == Prompt(expected, (Target("aeroplane", "aeroplane", 3), *cat))


def test_a_word_of_the_prompt_is_no_wrong_word():
    asked = Prompt("a bird and a cat", (Target("bird", "bird", 3),))
    with pytest.raises(ValueError, match="not in the prompt"):
        controls.with_wrong_word(asked, "cat")


def test_the_mean_is_that_of_the_class_means():
    values, classes = np.array([1.0, 0.0, 0.5]), ("bird", "bird", "cat")
    assert estimates.estimate(values, classes).mean == pytest.approx((0.5 + 0.5) / 2)
    assert estimates.by_class(values, classes) == {"bird": 0.5, "cat": 0.5}


def slow_draws(
    classes: tuple[str, ...], times: np.ndarray, values: np.ndarray, rng: np.random.Generator
) -> Iterator[float]:
    names = np.unique(classes)
    for row in times:
        drawn = []
        for name, count in zip(names, row, strict=True):
            items = values[np.array(classes) == name]
            drawn += [rng.choice(items, len(items)).mean() for _ in range(count)]
        yield float(np.mean(drawn))


def test_a_draw_resamples_classes_and_then_items_of_each():
    classes, values = ("bird", "bird", "bird", "cat", "cat"), np.array([0.1, 0.9, 0.5, 0.3, 0.4])
    weights = estimates.resampled_weights(classes, seed=0, count=4000)
    np.testing.assert_allclose(weights.sum(1), 1)
    rng = np.random.default_rng(1)
    times = rng.multinomial(2, [0.5, 0.5], size=4000)
    slow = list(slow_draws(classes, times, values, rng))
    assert np.mean(weights @ values) == pytest.approx(np.mean(slow), abs=0.01)
    assert np.std(weights @ values) == pytest.approx(np.std(slow), rel=0.05)


def test_the_interval_covers_the_mean_of_all_classes_where_classes_differ():
    rng, classes = np.random.default_rng(0), tuple(np.repeat(np.arange(15).astype(str), 8))
    covered = []
    for _ in range(300):
        of_class = rng.normal(0.7, 0.1, 15)
        got = estimates.estimate(rng.normal(np.repeat(of_class, 8), 0.1), classes, count=300)
        covered.append(got.low <= 0.7 <= got.high)
    assert np.mean(covered) > 0.88  # 0.95 promised; items drawn alone cover half


def test_the_interval_of_one_class_is_that_of_its_mean():
    got = estimates.estimate(np.random.default_rng(0).normal(0.6, 0.1, 400), ("bird",) * 400)
    assert got.low < got.mean < got.high
    assert got.high - got.low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)
    assert got.is_above_zero


def test_paired_differences_have_narrow_intervals():
    hard, classes = np.random.default_rng(0).random(60), ("bird",) * 30 + ("cat",) * 30
    better = estimates.estimate(hard + 0.01 - hard, classes)
    assert better.is_above_zero
    assert better.high - better.low < 1e-9
    assert better.signed == "+0.010 (+0.010 to +0.010)"


def test_items_that_were_not_tried_are_left_out():
    values, classes = np.array([0.5, np.nan, 0.7, np.nan]), ("bird", "bird", "cat", "dog")
    assert estimates.estimate(values, classes).mean == pytest.approx(0.6)
    assert estimates.worst_class(values, classes) == ("bird", 0.5)
    assert np.isnan(estimates.estimate(np.array([np.nan]), ("bird",)).mean)
