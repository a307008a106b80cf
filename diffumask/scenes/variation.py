"""How a sprite may differ from scene to scene: size, place, turn, colour and style."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from .sprites import Sprite

MAX_OUTSIDE = 0.1  # share of a sprite's side that may lie outside the image
CUT_PROBABILITY, MAX_OUTSIDE_CUT = 0.15, 0.35  # of the objects that the border may cut further

Layer = Float32[np.ndarray, "h w 4"]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Variation:
    """Bounds of what is drawn at random for each sprite; factors unless a unit is named.

    `max_hue_shift` is in OpenCV's 180 steps; `stretch` is that of the width; a sprite is drawn in
    few shades with `flat_style_probability`.
    """

    max_rotation_deg: float = 15.0
    max_hue_shift: int = 7
    saturation: Range = (1.0, 1.0)
    brightness: Range = (0.8, 1.15)
    stretch: Range = (1.0, 1.0)
    flat_style_probability: float = 0.0


PLAIN = Variation()
# For a judge, which must know a class from sprites that it has not seen.
STRONG = Variation(35.0, 30, (0.4, 1.4), (0.55, 1.3), (0.75, 1.33), 0.25)


def placed(
    pixels: Sprite,
    size_hw: tuple[int, int],
    size_range: Range,
    variation: Variation,
    rng: np.random.Generator,
) -> Layer:
    """Vary a sprite and place it on an empty layer of RGB premultiplied by alpha.

    Colours lie in 0..255, alpha in [0, 1]. `size_range` bounds the longest side of the sprite in
    shares of the shorter image side.
    """
    h, w = size_hw
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    scale = rng.uniform(*size_range) * min(h, w) / max(pixels.shape[:2])
    small = cv2.resize(
        _premultiplied(_restyled(pixels, variation, rng)),
        None,
        fx=scale * _drawn(variation.stretch, rng),
        fy=scale,
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )
    sprite_h, sprite_w = small.shape[:2]
    turn = rng.uniform(-variation.max_rotation_deg, variation.max_rotation_deg)
    matrix = cv2.getRotationMatrix2D((sprite_w / 2, sprite_h / 2), turn, 1.0)
    matrix[:, 2] += _offset(w, sprite_w, rng), _offset(h, sprite_h, rng)
    return cv2.warpAffine(small, matrix, (w, h), flags=cv2.INTER_LINEAR)


def _offset(image_side: int, sprite_side: int, rng: np.random.Generator) -> float:
    """Draw a position that leaves at most a stated share of the sprite outside the image."""
    is_cut = rng.random() < CUT_PROBABILITY
    slack = (MAX_OUTSIDE_CUT if is_cut else MAX_OUTSIDE) * sprite_side
    low, high = sorted((-slack, image_side - sprite_side + slack))
    return rng.uniform(low, high)


def _drawn(bounds: Range, rng: np.random.Generator) -> float:
    """Draw a factor; a range of one number costs no random number."""
    return bounds[0] if bounds[0] == bounds[1] else rng.uniform(*bounds)


def _restyled(pixels: Sprite, variation: Variation, rng: np.random.Generator) -> Sprite:
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2HSV).astype(np.int16)
    shift = variation.max_hue_shift
    hsv[..., 0] = (hsv[..., 0] + rng.integers(-shift, shift + 1)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * _drawn(variation.saturation, rng), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * _drawn(variation.brightness, rng), 0, 255)
    rgb = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    if variation.flat_style_probability and rng.random() < variation.flat_style_probability:
        step = 256 // int(rng.integers(2, 6))
        rgb = (rgb // step * step + step // 2).clip(max=255).astype(np.uint8)
    return np.concatenate([rgb, pixels[..., 3:]], axis=-1)


def _premultiplied(pixels: Sprite) -> Float32[np.ndarray, "sprite_h sprite_w 4"]:
    result = pixels.astype(np.float32)
    result[..., 3] /= 255
    result[..., :3] *= result[..., 3:]
    return result
