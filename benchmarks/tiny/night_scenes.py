"""Renders as a night-vision camera would show them, a domain that `tiny` was never trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diffumask.scenes import Scene, render_scene
from diffumask.types import ClassMap, Image, Prompt, Target

TINT = np.array([0.15, 1.0, 0.3], np.float32)
CORNER_LIGHT = 0.35


@dataclass(frozen=True, slots=True)
class Scenes:
    """Held-out scenes with their images in the domain, prompts and exact class maps."""

    plain: Sequence[Image]
    night: Sequence[Image]
    prompts: Sequence[Prompt]
    class_maps: Sequence[ClassMap]


def at_night(image: Image) -> Image:
    """Return an image as a night-vision camera would show it: green, dark at the corners."""
    height, width = image.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - (1 - CORNER_LIGHT) * np.clip((x**2 + y**2) / 2, 0, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) * light
    return np.clip(grey[..., None] * TINT, 0, 255).astype(np.uint8)


def render(first_seed: int, count: int) -> Scenes:
    """Render scenes, plain and in the domain."""
    scenes = [render_scene(first_seed + index) for index in range(count)]
    return Scenes(
        [scene.image for scene in scenes],
        [at_night(scene.image) for scene in scenes],
        [_prompt(scene) for scene in scenes],
        [scene.class_map for scene in scenes],
    )


def _prompt(scene: Scene) -> Prompt:
    targets = (Target(one.class_name, one.class_name, one.class_id) for one in scene.objects)
    return Prompt(scene.caption, tuple(targets))
