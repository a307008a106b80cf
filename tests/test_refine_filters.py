"""Guided filter and PAMR equal their definitions, written pixel by pixel."""

import numpy as np
import pytest

from diffumask.masks.refine.guided import GuidedSettings, guided
from diffumask.masks.refine.pamr import PamrSettings, pamr

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
