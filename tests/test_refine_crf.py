"""The fast mean field gives what the definition gives, up to the approximations that are named."""

from dataclasses import replace

import numpy as np
import pytest

from diffumask.masks.refine import from_labels
from diffumask.masks.refine.crf import CrfSettings, crf
from diffumask.masks.refine.grid import FLOOR, RGB_SIGMA, grid_size, joint_upsample, shrink_image
from diffumask.masks.refine.lattice import build_lattice

pytestmark = pytest.mark.numeric

CONFIDENCE = 20 / 21


def scene(h=22, w=30):
    """A photo-like image: two surfaces with shading and noise; and a sloppy mask of one."""
    y, x = np.mgrid[:h, :w]
    truth = np.hypot((y - 0.5 * h) * 1.2, x - 0.5 * w) < 0.35 * h
    shade = 30 * x / w
    image = np.where(truth[..., None], [180, 70, 60], [80, 120, 90]) + shade[..., None]
    image = image + np.random.default_rng(0).normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), truth, np.roll(truth, (2, -3), (0, 1))


def exact_kernels(image, settings):
    """Both kernels as dense matrices, normalised by the roots of their row sums."""
    h, w = image.shape[:2]
    scale = min(h, w) / 512
    y, x = np.mgrid[:h, :w].reshape(2, -1)
    near = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    rgb = image.reshape(-1, 3).astype(float)
    likeness = ((rgb[:, None] - rgb) ** 2).sum(2)
    gaussian = np.exp(-near / (2 * (settings.gaussian_px * scale) ** 2))
    bilateral = np.exp(
        -near / (2 * (settings.bilateral_px * scale) ** 2)
        - likeness / (2 * settings.bilateral_rgb**2)
    )
    roots = [np.sqrt(kernel.sum(1)) for kernel in (gaussian, bilateral)]
    return settings.gaussian_weight * gaussian / np.outer(
        roots[0], roots[0]
    ) + settings.bilateral_weight * bilateral / np.outer(roots[1], roots[1])


def brute_force(image, planes, settings):
    """Mean field by its definition, one candidate, label and iteration at a time, in float64."""
    kernel = exact_kernels(image, settings)
    result = np.empty_like(planes)
    for index, candidate in enumerate(planes):
        unary = np.log(np.maximum(candidate.reshape(len(candidate), -1), 1e-6).astype(float))
        q = np.exp(unary) / np.exp(unary).sum(0)
        for _ in range(settings.iterations):
            energy = np.stack([u + kernel @ label for u, label in zip(unary, q, strict=True)])
            energy -= energy.max(0)
            q = np.exp(energy) / np.exp(energy).sum(0)
        result[index] = q.reshape(candidate.shape)
    return result


@pytest.mark.parametrize("n_labels", [2, 4])
def test_equals_brute_force_without_the_bilateral_kernel(n_labels):
    """The separable Gaussian, the softmax and the label left out are exact."""
    image, truth, sloppy = scene()
    settings = CrfSettings(bilateral_weight=0.0, gaussian_px=40.0)
    labels = np.stack([sloppy, truth]).astype(int) + (np.mgrid[:22, :30][1] > 25) * (n_labels - 2)
    planes = from_labels(labels, n_labels, 0.6)
    np.testing.assert_allclose(
        crf(image, planes, settings), brute_force(image, planes, settings), atol=2e-5
    )


@pytest.mark.parametrize("confidence", [0.6, CONFIDENCE])
def test_is_near_brute_force_with_the_published_constants(confidence):
    """The lattice stands for the bilateral kernel: mean error under 0.01, labels nearly equal."""
    image, truth, sloppy = scene()
    planes = from_labels(np.stack([sloppy, truth, ~truth]).astype(int), 2, confidence)
    exact = brute_force(image, planes, CrfSettings())
    fast = crf(image, planes)
    assert np.abs(fast - exact).mean() < 0.01
    assert ((fast > 0.5) == (exact > 0.5)).mean() > 0.99


def test_brute_force_itself_helps():
    image, truth, sloppy = scene()
    planes = from_labels(sloppy[None].astype(int), 2, 0.8)
    refined = brute_force(image, planes, CrfSettings())[0, 1] > 0.5
    assert (refined != truth).mean() < 0.5 * (sloppy != truth).mean()


def test_smaller_grid_agrees_with_the_full_one():
    image, _, sloppy = scene(132, 180)
    planes = from_labels(sloppy[None].astype(int), 2, CONFIDENCE)
    full = crf(image, planes, replace(CrfSettings(), shrink=1.0))[0, 1] > 0.5
    fast = crf(image, planes, CrfSettings(least_side=64))[0, 1] > 0.5
    assert grid_size((132, 180), least_side=64) == (64, 87)
    assert grid_size((132, 180), least_side=200) == (132, 180)
    assert (full & fast).sum() / (full | fast).sum() > 0.97


def test_no_iterations_change_nothing():
    image, _, sloppy = scene()
    planes = from_labels(sloppy[None].astype(int), 2, 0.8)
    np.testing.assert_array_equal(crf(image, planes, CrfSettings(iterations=0)), planes)


def test_widths_scale_with_the_image():
    """An image enlarged without new detail is refined as before."""
    image, _, sloppy = scene(64, 80)
    large, large_sloppy = (array.repeat(2, 0).repeat(2, 1) for array in (image, sloppy))
    settings = replace(CrfSettings(), shrink=1.0)
    small_mask = crf(image, from_labels(sloppy[None].astype(int), 2, 0.9), settings)[0, 1] > 0.5
    large_mask = crf(large, from_labels(large_sloppy[None].astype(int), 2, 0.9), settings)[0, 1]
    assert ((large_mask > 0.5) == small_mask.repeat(2, 0).repeat(2, 1)).mean() > 0.99


@pytest.mark.parametrize("d", [1, 2, 5])
def test_lattice_approximates_the_gaussian_sum(d):
    points = np.random.default_rng(d).normal(0, 1.2, (400, d)).astype(np.float32)
    values = np.random.default_rng(0).random((400, 3), np.float32)
    kernel = np.exp(-0.5 * ((points[:, None] - points) ** 2).sum(2))
    lattice = build_lattice(points)
    ones = np.ones((400, 1), np.float32)
    exact = kernel @ values / (kernel @ ones)
    fast = lattice.filter(values) / lattice.filter(ones)
    assert np.abs(fast - exact).mean() < 0.02
    np.testing.assert_allclose(lattice.slice.sum(1), 1, atol=1e-5)
    assert lattice.slice.data.min() > -1e-5


def slow_upsample(image, small, values):
    """Joint bilateral upsampling, pixel by pixel."""
    h, w = image.shape[:2]
    grid_h, grid_w = small.shape[:2]
    result = np.zeros((h, w))
    for y, x in np.ndindex(h, w):
        row, column = (y + 0.5) * grid_h / h - 0.5, (x + 0.5) * grid_w / w - 0.5
        total = 0.0
        for i, j in np.ndindex(2, 2):
            above, left = int(np.floor(row)) + i, int(np.floor(column)) + j
            linear = (1 - abs(row - above)) * (1 - abs(column - left))
            above, left = np.clip(above, 0, grid_h - 1), np.clip(left, 0, grid_w - 1)
            difference = image[y, x].astype(float) - small[above, left]
            weight = linear * (np.exp(-(difference**2).sum() / (2 * RGB_SIGMA**2)) + FLOOR)
            result[y, x] += weight * values[above, left]
            total += weight
        result[y, x] /= total
    return result


def test_upsampling_equals_its_slow_twin():
    rng = np.random.default_rng(0)
    image = rng.integers(90, 130, (37, 25, 3), dtype=np.uint8)
    small = shrink_image(image, (11, 7))
    columns = rng.random((77, 2), np.float32)
    fast = joint_upsample(image, small, columns)
    for column in range(2):
        slow = slow_upsample(image, small, columns[:, column].reshape(11, 7))
        np.testing.assert_allclose(fast[column], slow, atol=1e-5)


def test_upsampling_follows_colours():
    image = np.zeros((24, 40, 3), np.uint8)
    image[:, 17:] = 200
    small = shrink_image(image, (6, 10))
    bright = (small[..., :1].reshape(-1, 1) > 190).astype(np.float32)
    upsampled = joint_upsample(image, small, bright)[0]
    assert upsampled[:, 20:].min() > 0.99
    assert upsampled[:, :16].max() < 0.01


def test_upsampling_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    columns = np.random.default_rng(1).random((35, 2), np.float32)
    np.testing.assert_array_equal(
        joint_upsample(image, image.astype(np.float32), columns), columns.T.reshape(2, 5, 7)
    )
