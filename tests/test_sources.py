"""Sources of masks: what they say alone, and joined with attention."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from diffumask.errors import InputError
from diffumask.labelled.labels import Labels
from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import CERTAIN, MaskSource, alone, fused, named, watching
from diffumask.masks.thresholds import Fixed
from diffumask.masks.unary import SHARPNESS, label_probabilities
from diffumask.segmentator.facts import Facts, check_classes
from diffumask.segmentator.source import objects_of
from diffumask.types import Objects, Prompt, Sample, Target

BIRD, CAT = Target("duck", "bird", 3), Target("cat", "cat", 8)
LABELS = Labels({"bird": 3, "cat": 8, "cow": 9})
RNG = np.random.default_rng(0)


def shares(n: int, size_hw: tuple[int, int] = (3, 4)) -> np.ndarray:
    planes = RNG.random((n, *size_hw), np.float32)
    return planes / planes.sum(0)


class Fake:
    """A source that always sees the same."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def __call__(self, sample: Sample) -> Objects:
        return self.objects

    @contextmanager
    def watching(self, pipe: Any, prompts: Sequence[Prompt]) -> Iterator[list[Objects]]:
        yield [self.objects] * len(prompts)


def test_alone_other_objects_are_background_and_the_band_moves_the_odds() -> None:
    objects = shares(4)
    band = 0.05
    candidates = alone(objects, band)
    assert candidates.shape == (3, 3, 3, 4)
    for candidate, shift in zip(candidates, (0, band, -band), strict=True):
        for y, x in np.ndindex(3, 4):
            background = objects[0, y, x] + objects[3, y, x]
            named = objects[1:3, y, x] * np.exp(SHARPNESS * shift)
            expected = np.array([background, *named]) / (background + named.sum())
            np.testing.assert_allclose(candidate[:, y, x], expected, rtol=1e-4)
    np.testing.assert_allclose(alone(objects, 0.0), candidates[:1])


def test_fused_is_the_product_and_attention_names_what_the_source_cannot() -> None:
    attention = shares(3)[None]
    objects = shares(4)
    expected = attention[0] * (objects[:3] + np.array([0, 1, 1])[:, None, None] * objects[3])
    np.testing.assert_allclose(fused(attention, objects)[0], expected / expected.sum(0), rtol=1e-4)
    unnamed = np.zeros((4, 1, 1), np.float32)
    unnamed[3] = 1
    heats = np.array([0.2, 0.9], np.float32)[:, None, None]
    of_heat = label_probabilities(heats, [[0.5, 0.5]])
    assert fused(of_heat, unnamed).argmax(1).item() == 2


def test_what_a_source_cannot_name_goes_to_the_word_that_attends_to_it() -> None:
    objects = np.zeros((4, 5, 9), np.float32)
    objects[3, 1:4, 1:8] = 0.8  # two that touch
    objects[0] = 1 - objects[3]
    attention = np.full((2, 5, 9), 0.1, np.float32)
    attention[0, :, :4] = attention[1, :, 4:] = 1
    shown = named(objects, attention)
    np.testing.assert_allclose(shown.sum(0), 1, atol=1e-6)
    labels = alone(shown, 0.0)[0].argmax(0)
    assert (labels[1:4, 1:4] == 1).all()
    assert (labels[1:4, 4:8] == 2).all()
    assert (labels != 0).sum() == 21


def test_one_word_takes_all_that_a_source_sees_but_for_what_rivals_attend_to() -> None:
    objects = shares(3)
    attention = np.ones((1, 3, 4), np.float32)
    shown = named(objects, attention)
    np.testing.assert_allclose(shown[1], 1 - objects[0], atol=1e-6)
    assert not shown[2].any()
    np.testing.assert_allclose(named(objects, 0 * attention), objects, atol=1e-6)
    rival = np.concatenate([0.01 * attention, attention])
    assert named(objects, rival)[2].sum() > 0.9 * objects[2].sum()


def test_no_source_is_so_sure_that_the_other_does_not_count() -> None:
    attention = np.array([1, 0], np.float32)[None, :, None, None]
    objects = np.array([0, 1, 0], np.float32)[:, None, None]
    result = fused(attention, objects)
    assert result.min() > CERTAIN / 2
    np.testing.assert_allclose(result.sum(1), 1)


def sample(objects: Objects | None = None) -> Sample:
    heat = np.zeros((6, 8), np.float32)
    heat[1:5, 1:7] = 0.4
    heat[2:4, 2:6] = 1
    prompt = Prompt("a duck", (BIRD,))
    return Sample(prompt, 0, np.zeros((6, 8, 3), np.uint8), {"duck": heat}, {}, objects)


def plain(source: MaskSource | None) -> MaskSettings:
    return MaskSettings("attention", Fixed(0.5), "none", None, 0.0, 0.0, source)


def test_masks_follow_their_source() -> None:
    seen = np.zeros((3, 6, 8), np.float32)
    seen[1, 1:5, 1:7] = 0.9
    seen[0] = 1 - seen[1]
    wide = make_class_map(sample(), plain(MaskSource(Fake(seen), fused=False)))
    np.testing.assert_array_equal(wide.class_map, (seen[1] > 0.5) * 3)
    assert wide.thresholds == [0.5]
    by_attention = make_class_map(sample(), plain(None)).class_map
    both = make_class_map(sample(), plain(MaskSource(Fake(seen), fused=True))).class_map
    assert by_attention.sum() < both.sum() <= wide.class_map.sum()
    nothing = np.zeros((3, 6, 8), np.float32)
    nothing[0] = 1
    assert not make_class_map(
        sample(), plain(MaskSource(Fake(nothing), fused=True))
    ).class_map.any()


def test_a_source_watches_only_where_there_is_one() -> None:
    prompts = [Prompt("a duck", (BIRD,))]
    with watching(None, None, prompts) as seen:
        assert seen == []
    objects = shares(3)
    with watching(MaskSource(Fake(objects), fused=True), None, prompts) as seen:
        assert len(seen) == 1


def test_labels_of_a_head_become_those_of_the_prompt() -> None:
    planes = shares(4)
    objects = objects_of(planes, LABELS, (CAT, BIRD))
    np.testing.assert_array_equal(objects[:3], planes[[0, 2, 1]])
    np.testing.assert_allclose(objects[3], planes[3], atol=1e-6)
    unknown = objects_of(planes, LABELS, (Target("ufo", "ufo", 4),))
    assert not unknown[1].any()
    np.testing.assert_allclose(unknown[2], planes[1:].sum(0), atol=1e-6)
    twice = objects_of(planes, LABELS, (BIRD, Target("hen", "Bird", 3)))
    np.testing.assert_allclose(twice[1] + twice[2], planes[1], atol=1e-6)
    np.testing.assert_allclose(twice.sum(0), 1, atol=1e-6)


def test_without_a_background_what_is_not_named_is_background() -> None:
    planes = shares(2)
    street = Labels({"sky": 0, "bird": 1})
    objects = objects_of(planes, street, (BIRD,))
    np.testing.assert_allclose(objects[0], planes[0], atol=1e-6)
    assert not objects[2].any()


def test_classes_that_a_head_cannot_mask_are_refused() -> None:
    facts = Facts("pyramid", LABELS, "tiny", "", 128)
    check_classes(facts, ["bird", "Cow"], fused=False)
    check_classes(facts, ["bird", "ufo"], fused=True)
    with pytest.raises(InputError, match="got 'ufo'; take masks from both"):
        check_classes(facts, ["bird", "ufo"], fused=False)
    street = replace(facts, labels=Labels({"sky": 0, "bird": 1}))
    with pytest.raises(InputError, match="got 'ufo'; take masks from attention"):
        check_classes(street, ["ufo"], fused=True)
    of_any = replace(facts, labels=Labels({"object": 1}), class_agnostic=True)
    check_classes(of_any, ["bird", "ufo"], fused=False)


@pytest.mark.parametrize("is_fused", [False, True])
@pytest.mark.parametrize("plane", [1, 2])  # named by the source, or an object without a name
def test_an_absent_object_has_no_mask_whatever_a_source_sees(is_fused: bool, plane: int) -> None:
    seen = np.zeros((3, 6, 8), np.float32)
    seen[plane, 1:5, 1:7] = 1
    seen[0] = 1 - seen[plane]
    one = replace(sample(), presences={"duck": 0.3})
    asked = replace(plain(MaskSource(Fake(seen), fused=is_fused)), least_presence=0.49)
    masked = make_class_map(one, asked)
    assert not masked.class_map.any()
    assert "presence 0.300" in masked.absent["bird"]
    if plane == 1:
        assert make_class_map(one, replace(asked, least_presence=0.0)).class_map.any()
