"""Guided filter, random walker and PAMR equal their definitions, written pixel by pixel."""

import numpy as np
import pytest

from diffumask.masks.refine import from_labels
from diffumask.masks.refine.grabcut import grabcut
from diffumask.masks.refine.guided import GuidedSettings, guided
from diffumask.masks.refine.pamr import PamrSettings, pamr
from diffumask.masks.refine.walker import WalkerSettings, random_walker

pytestmark = pytest.mark.numeric

H, W = 11, 14


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(60, 120, (H, W, 3), dtype=np.uint8)


@pytest.fixture
def planes():
    given = np.random.default_rng(1).dirichlet([2, 1, 1], (2, H, W)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(given, np.float32)


def window(array, y, x, radius):
    """The values around a pixel; beyond the border those of the border."""
    rows = np.clip(np.arange(y - radius, y + radius + 1), 0, H - 1)
    columns = np.clip(np.arange(x - radius, x + radius + 1), 0, W - 1)
    return array[rows][:, columns].reshape(-1, *array.shape[2:])


def slow_guided(image, plane, radius, epsilon):
    """Ridge regression of the plane on the colours in each window, then means of the models."""
    guide = image / 255.0
    models = np.empty((H, W, 4))
    for y, x in np.ndindex(H, W):
        colours, values = window(guide, y, x, radius), window(plane, y, x, radius)
        centred = colours - colours.mean(0)
        covariance = centred.T @ centred / len(centred) + epsilon * np.eye(3)
        slope = np.linalg.solve(covariance, centred.T @ (values - values.mean()) / len(values))
        models[y, x] = [*slope, values.mean() - slope @ colours.mean(0)]
    result = np.empty((H, W))
    for y, x in np.ndindex(H, W):
        model = window(models, y, x, radius).mean(0)
        result[y, x] = model[:3] @ guide[y, x] + model[3]
    return result


def test_guided_filter_equals_its_slow_twin(image, planes):
    settings = GuidedSettings(radius_px=2 * 512 / H, epsilon=1e-2)
    slow = np.array([[slow_guided(image, p, 2, 1e-2) for p in c] for c in planes.astype(float)])
    slow = slow.clip(0, 1)
    slow /= slow.sum(1, keepdims=True)
    np.testing.assert_allclose(guided(image, planes, settings), slow, atol=1e-4)


def test_random_walker_equals_its_slow_twin(image, planes):
    settings = WalkerSettings(beta=20.0, prior=0.05)
    rgb = image / 255.0
    system = settings.prior * np.eye(H * W)
    for y, x in np.ndindex(H, W):
        for other_y, other_x in ((y + 1, x), (y, x + 1)):
            if other_y < H and other_x < W:
                distance = ((rgb[y, x] - rgb[other_y, other_x]) ** 2).sum()
                weight = np.exp(-settings.beta * distance) + settings.least_weight
                a, b = y * W + x, other_y * W + other_x
                system[[a, b], [a, b]] += weight
                system[[a, b], [b, a]] -= weight
    slow = np.linalg.solve(system, settings.prior * planes.reshape(6, -1).T.astype(float)).T
    fast = random_walker(image, planes, settings)
    np.testing.assert_allclose(fast, slow.reshape(planes.shape), atol=1e-5)


def test_pamr_equals_its_slow_twin(image, planes):
    settings = PamrSettings(dilations=(1, 3), iterations=2, sharpness=2.0)
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    slow = planes.astype(float)
    for _ in range(settings.iterations):
        before, slow = slow, np.empty(planes.shape)
        for y, x in np.ndindex(H, W):
            places = [
                (np.clip(y + dy * far, 0, H - 1), np.clip(x + dx * far, 0, W - 1))
                for far in settings.dilations
                for dy, dx in steps
            ]
            colours = np.array([image[place] for place in places], float)
            unlike = np.abs(colours - image[y, x]) / (colours.std(0) + settings.least_spread)
            weights = np.exp(-settings.sharpness * unlike.mean(1))
            values = np.array([before[:, :, i, j] for i, j in places])
            slow[:, :, y, x] = np.tensordot(weights / weights.sum(), values, 1)
    np.testing.assert_allclose(pamr(image, planes, settings), slow, atol=1e-4)


def test_grabcut_answers_with_its_confidence_and_the_same_each_time(image):
    labels = np.zeros((2, H, W), int)
    labels[0, 2:8, 3:9] = 1
    labels[1, 4:10, 5:13] = 2
    given = from_labels(labels, 3, 0.9)
    first, again = grabcut(image, given), grabcut(image, given)
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first.round(3))) <= {np.float32(0.025), np.float32(0.95)}
