"""The second judge of `tiny` cuts out and names what a render shows."""

import numpy as np
import pytest

from benchmarks.judges import classifier
from diffumask.scenes import load_catalog, render_scene, sprites


def test_a_crop_is_a_square_around_the_mask_with_a_margin() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    image[mask] = 255
    crop = classifier.crop_around(image, mask)
    rows, columns = (np.flatnonzero((crop[..., 0] > 127).any(axis)) for axis in (1, 0))
    side = classifier.CROP_SIZE
    assert crop.shape == (side, side, 3)
    assert abs(len(columns) - side / (1 + 2 * classifier.MARGIN)) < 2
    assert abs(len(rows) - len(columns) / 2) < 2
    assert abs(rows[0] + rows[-1] - (side - 1)) < 2
    whole = classifier.crop_around(image, np.zeros((40, 60), bool))
    assert 0 < (whole > 127).mean() < (crop > 127).mean()


@pytest.mark.skipif(sprites.find_font() is None, reason="the font is not installed")
def test_rendered_sprites_are_named() -> None:
    names = ["car", "elephant", "mushroom", "house", "bird", "bicycle"]
    scenes = [render_scene(5, class_names=[name]) for name in names]
    crops = [classifier.crop_around(one.image, one.objects[0].mask) for one in scenes]
    classes, sub_classes, features = classifier.judged(classifier.load_classifier(), crops)
    order, labels = list(load_catalog().classes), classifier.sub_class_names()
    named = [order[int(row.argmax())] for row in classes]
    assert sum(got == name for got, name in zip(named, names, strict=True)) >= 5
    assert classes.sum(1) == pytest.approx(1, abs=1e-5)
    assert sub_classes.shape == (6, len(labels))
    assert len(features) == 6
