"""Procedural backgrounds: a plain pattern mixes a ground and an accent colour.

It returns the share of the accent in [0, 1] for every pixel; busy grounds are drawn by
`diffumask.scenes.clutter`. Lengths are in units of the shorter image side, so that a pattern looks
the same at every size.
"""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from .catalog import Background
from .clutter import CLUTTERS

Share = Float32[np.ndarray, "h w"]
Pattern = Callable[[np.random.Generator, int, int], Share]

COLOUR_JITTER = 12.0  # standard deviation of a whole background's colour, in 0..255


def draw_background(
    background: Background, size_hw: tuple[int, int], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw one background with its own random layout, colour shift and light gradient."""
    if background.is_busy:
        image = CLUTTERS[background.pattern](rng, *size_hw, background.colours)
    else:
        share = PATTERNS[background.pattern](rng, *size_hw)[..., None]
        ground, accent = (np.asarray(colour, np.float32) for colour in background.colours)
        image = ground * (1 - share) + accent * share
    image += rng.normal(0, COLOUR_JITTER, 3).astype(np.float32) * 0.6
    image *= _light_gradient(rng, *size_hw)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, h: int, w: int, scale: float) -> Share:
    """Draw noise in [0, 1] whose features span about `scale` of the shorter side."""
    cell = max(scale * min(h, w), 1.0)
    coarse = rng.random((int(h / cell) + 2, int(w / cell) + 2)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC), 0, 1)


def _grid(h: int, w: int) -> tuple[Share, Share]:
    unit = np.float32(min(h, w))
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return y / unit, x / unit


def _light_gradient(rng: np.random.Generator, h: int, w: int) -> Share:
    y, x = _grid(h, w)
    slope_y, slope_x = rng.uniform(-0.12, 0.12, 2).astype(np.float32)
    return 1 + slope_y * (y - 0.5) + slope_x * (x - 0.5)


def _blades(rng: np.random.Generator, h: int, w: int) -> Share:
    blades = cv2.resize(
        rng.random((max(h // 8, 2), max(w // 2, 2))).astype(np.float32),
        (w, h),
        interpolation=cv2.INTER_LINEAR,
    )
    return np.clip(0.6 * blades + 0.4 * smooth_noise(rng, h, w, 0.3), 0, 1)


def _speckle(rng: np.random.Generator, h: int, w: int) -> Share:
    grains = smooth_noise(rng, h, w, 0.02)
    return np.clip(0.5 * grains + 0.6 * smooth_noise(rng, h, w, 0.35) - 0.1, 0, 1)


def _drifts(rng: np.random.Generator, h: int, w: int) -> Share:
    return np.clip(1.4 * smooth_noise(rng, h, w, 0.4) - 0.3, 0, 1)


def _waves(rng: np.random.Generator, h: int, w: int) -> Share:
    y, _ = _grid(h, w)
    bend = smooth_noise(rng, h, w, 0.25)
    phase = np.float32(rng.uniform(0, 6.28))
    return np.clip(0.5 + 0.5 * np.sin(50 * y + 9 * bend + phase) - 0.2, 0, 1)


def _clouds(rng: np.random.Generator, h: int, w: int) -> Share:
    puffs = 0.7 * smooth_noise(rng, h, w, 0.3) + 0.3 * smooth_noise(rng, h, w, 0.1)
    return np.clip(3.5 * (puffs - 0.52), 0, 0.9)


def _stars(rng: np.random.Generator, h: int, w: int) -> Share:
    sky = np.zeros((h, w), np.float32)
    radius = max(min(h, w) / 110, 0.8)
    for y, x in rng.random((14, 2)) * (h, w):
        cv2.circle(sky, (int(x), int(y)), round(radius), 1.0, -1, cv2.LINE_AA)
    return np.clip(sky + 0.12 * smooth_noise(rng, h, w, 0.4), 0, 1)


def _bricks(rng: np.random.Generator, h: int, w: int) -> Share:
    y, x = _grid(h, w)
    y, x = y + np.float32(rng.random()), x + np.float32(rng.random())
    row = np.floor(y / 0.10)
    x = x + 0.11 * (row % 2)
    joint = (np.mod(y, 0.10) < 0.016) | (np.mod(x, 0.22) < 0.016)
    return np.clip(0.85 * joint + 0.15 * smooth_noise(rng, h, w, 0.1), 0, 1).astype(np.float32)


def _planks(rng: np.random.Generator, h: int, w: int) -> Share:
    y, _ = _grid(h, w)
    y = y + np.float32(rng.random())
    tone = rng.random(64).astype(np.float32)[np.floor(y / 0.16).astype(int) % 64]
    grain = 0.5 + 0.5 * np.sin(90 * y + 6 * smooth_noise(rng, h, w, 0.3))
    gap = np.mod(y, 0.16) < 0.015
    return np.clip(0.4 * tone + 0.25 * grain + 0.8 * gap, 0, 1).astype(np.float32)


def _road(rng: np.random.Generator, h: int, w: int) -> Share:
    y, x = _grid(h, w)
    middle = np.float32(rng.uniform(0.3, 0.8))
    dash = (np.abs(y - middle) < 0.025) & (np.mod(x + np.float32(rng.random()), 0.4) < 0.24)
    return np.clip(0.8 * dash + 0.12 * smooth_noise(rng, h, w, 0.03), 0, 1).astype(np.float32)


def _checks(rng: np.random.Generator, h: int, w: int) -> Share:
    y, x = _grid(h, w)
    shift_y, shift_x = rng.random(2).astype(np.float32)
    cells = np.floor((y + x + shift_y) / 0.2) + np.floor((y - x + shift_x) / 0.2)
    return np.clip(0.7 * (cells % 2) + 0.15 * smooth_noise(rng, h, w, 0.1), 0, 1).astype(np.float32)


PATTERNS: dict[str, Pattern] = {
    "blades": _blades,
    "speckle": _speckle,
    "drifts": _drifts,
    "waves": _waves,
    "clouds": _clouds,
    "stars": _stars,
    "bricks": _bricks,
    "planks": _planks,
    "road": _road,
    "checks": _checks,
}
