"""What every refiner does, whatever its method."""

import subprocess
import sys

import numpy as np
import pytest

from diffumask.masks.refine import REFINERS, find_refiner, from_labels, refine
from diffumask.metrics import iou

pytestmark = pytest.mark.numeric

ALL = pytest.mark.parametrize("name", list(REFINERS))
EDGE_AWARE = pytest.mark.parametrize("name", [name for name in REFINERS if name != "none"])
CONFIDENCE = 20 / 21


def two_surfaces(h=48, w=64):
    """A red disc with a hole on green ground, both a little noisy, and its exact mask."""
    y, x = np.mgrid[:h, :w]
    distance = np.hypot(y - 0.5 * h, x - 0.45 * w)
    truth = (distance < 0.38 * h) & (distance > 0.12 * h)
    image = np.where(
        truth[..., None], np.array([190, 50, 40], np.uint8), np.array([60, 150, 70], np.uint8)
    )
    noise = np.random.default_rng(0).integers(-6, 7, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8), truth


def assert_probabilities(planes, shape):
    assert planes.shape == shape
    assert planes.dtype == np.float32
    assert np.isfinite(planes).all()
    assert planes.min() >= 0
    assert planes.max() <= 1
    np.testing.assert_allclose(planes.sum(1), 1, atol=1e-5)


@ALL
@pytest.mark.parametrize("size_hw", [(20, 30), (70, 9), (1, 12), (12, 1), (1, 1), (66, 80)])
def test_gives_probabilities_for_noise_of_any_size(name, size_hw):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    given = rng.dirichlet([1, 1, 1], (2, *size_hw)).astype(np.float32).transpose(0, 3, 1, 2)
    before = given.copy()
    refined = refine(name, image, given)
    assert_probabilities(refined, given.shape)
    np.testing.assert_array_equal(given, before)
    contiguous = refine(name, image, np.ascontiguousarray(given))
    np.testing.assert_allclose(refined, contiguous, atol=1e-5)


@ALL
def test_certain_planes_are_fine(name):
    """Probabilities of exactly 0 and 1, everywhere one label or both."""
    image, truth = two_surfaces()
    given = np.zeros((3, 2, *truth.shape), np.float32)
    given[0, 0] = 1
    given[1, 1] = 1
    given[2, 1] = truth
    given[2, 0] = ~truth
    refined = refine(name, image, given)
    assert_probabilities(refined, given.shape)
    assert (refined[0, 0] > 0.5).all()
    assert (refined[1, 1] > 0.5).all()


@ALL
@pytest.mark.parametrize("label", [0, 1])
def test_all_one_label_stays_so(name, label):
    image, truth = two_surfaces()
    given = from_labels(np.full((1, *truth.shape), label), 2, CONFIDENCE)
    assert (refine(name, image, given)[0, label] > 0.5).all()


@ALL
def test_one_pixel_object_may_vanish_but_not_grow_over_another_surface(name):
    image, truth = two_surfaces()
    labels = np.zeros((1, *truth.shape), int)
    labels[0, 24, 14] = 1
    refined = refine(name, image, from_labels(labels, 2, CONFIDENCE))
    assert_probabilities(refined, (1, 2, *truth.shape))
    assert (refined[0, 1] > 0.5).sum() <= 1


@ALL
def test_image_without_edges_gives_probabilities(name):
    labels = np.zeros((1, 40, 56), int)
    labels[0, 8:32, 12:40] = 1
    image = np.full((40, 56, 3), 128, np.uint8)
    assert_probabilities(refine(name, image, from_labels(labels, 2, CONFIDENCE)), (1, 2, 40, 56))


@EDGE_AWARE
def test_grey_image_has_edges_too(name):
    image, truth = two_surfaces()
    grey = np.repeat(image[..., :1], 3, axis=2)
    sloppy = np.roll(truth, (2, -2), (0, 1))
    refined = refine(name, grey, from_labels(sloppy[None].astype(int), 2, CONFIDENCE))[0, 1] > 0.5
    assert iou(refined, truth) > iou(sloppy, truth)


@EDGE_AWARE
def test_sloppy_mask_moves_to_the_edges_and_a_hole_stays(name):
    image, truth = two_surfaces()
    sloppy = np.roll(truth, (2, -2), (0, 1))
    refined = refine(name, image, from_labels(sloppy[None].astype(int), 2, CONFIDENCE))[0, 1] > 0.5
    assert iou(refined, truth) > iou(sloppy, truth) + 0.05
    assert not refined[22:27, 27:31].any()


@EDGE_AWARE
def test_three_labels_move_to_the_edges(name):
    image, truth = two_surfaces()
    right = np.zeros_like(truth)
    right[10:38, 50:60] = True
    image[right] = (40, 60, 200)
    labels = truth + 2 * right.astype(int)
    sloppy = np.roll(labels, (2, -2), (0, 1))
    refined = refine(name, image, from_labels(sloppy[None], 3, CONFIDENCE))[0].argmax(0)
    assert (refined == labels).mean() > (sloppy == labels).mean()
    assert set(np.unique(refined)) == {0, 1, 2}


@ALL
def test_candidates_do_not_see_each_other(name):
    image, truth = two_surfaces()
    labels = np.stack([truth, np.roll(truth, 3, 1), np.zeros_like(truth)]).astype(int)
    given = from_labels(labels, 2, CONFIDENCE)
    together = refine(name, image, given)
    for index in range(3):
        alone = refine(name, image, given[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-5)


@ALL
def test_no_candidates_and_one_label(name):
    image, truth = two_surfaces()
    assert refine(name, image, np.empty((0, 2, *truth.shape), np.float32)).shape[0] == 0
    one = np.ones((2, 1, *truth.shape), np.float32)
    np.testing.assert_array_equal(refine(name, image, one), one)


def test_none_changes_nothing():
    image, truth = two_surfaces()
    given = from_labels(truth[None].astype(int), 2, 0.7)
    refined = refine("none", image, given)
    np.testing.assert_array_equal(refined, given)
    assert refined is not given


@pytest.mark.parametrize("name", ["dense", "", "sam", "sam:", "crf:folder"])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=r"none, crf, .*, sam:FOLDER"):
        find_refiner(name)


def test_bad_arrays_are_refused():
    image, truth = two_surfaces()
    given = from_labels(truth[None].astype(int), 2, 0.7)
    with pytest.raises(ValueError, match="one size"):
        refine("none", image[:-1], given)
    given[0, 0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        refine("none", image, given)


def test_import_is_cheap():
    code = "import sys, diffumask.masks.refine; print({'torch', 'transformers'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "set()", printed.stderr
