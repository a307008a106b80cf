"""preview.jpg: pairs of image and mask, and what the classes on them are called."""

import numpy as np
import pytest
from gallery_folders import BIRD, CAT, CLASSES
from PIL import Image as PillowImage
from PIL import ImageDraw

from diffumask.dataset import preview
from diffumask.dataset.preview import names_shown, sheet_png, write_preview
from diffumask.dataset.store import open_store
from diffumask.draw import display_palette
from diffumask.types import Example, Prompt

PALETTE = display_palette(CLASSES.values())


@pytest.fixture
def texts(monkeypatch):
    """What is written on pictures."""
    written = []
    real = ImageDraw.ImageDraw.text

    def text(draw, place, content, *args, **options):
        written.append(content)
        return real(draw, place, content, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return written


def previewed(folder, class_maps):
    """Write an item for each class map and the preview, and read that."""
    with open_store(folder, {}, CLASSES, {}) as store:
        for index, class_map in enumerate(class_maps):
            image = np.full((*class_map.shape, 3), 100, np.uint8)
            example = Example(Prompt("a bird and a cat", (BIRD, CAT)), index, image, class_map)
            store.write(f"Bird_{index:06d}", example, {})
        write_preview(store)
    with PillowImage.open(folder / "preview.jpg") as picture:
        return np.array(picture).astype(int)


def block(value, size_hw=(30, 30)):
    class_map = np.zeros(size_hw, np.uint8)
    class_map[8:20, 8:20] = value
    return class_map


def n_like(picture, colour):
    """How many pixels have that colour, but for what JPEG loses."""
    return (np.abs(picture - np.array(colour, int)).max(axis=2) < 24).sum()


def test_the_preview_of_two_classes_has_both_names_and_colours(tmp_path, texts):
    picture = previewed(tmp_path, [block(3), block(8)])
    assert texts == ["bird", "cat", "bird", "cat"]  # below each, then all
    for class_id in (3, 8):
        swatches = 2 * 15 * 15
        assert n_like(picture, PALETTE[class_id]) > swatches + 300  # its contour


def test_a_class_has_one_colour_whatever_else_is_shown(tmp_path, texts):
    picture = previewed(tmp_path, [block(8)])
    assert texts == ["cat", "cat"]
    assert n_like(picture, PALETTE[8]) > 500
    assert n_like(picture, PALETTE[3]) == 0


def test_the_preview_names_what_is_uncertain_and_what_has_no_mask(tmp_path, texts):
    class_map = block(3)
    class_map[0:5] = 255
    previewed(tmp_path, [class_map, block(0)])
    assert texts == ["bird", "uncertain", "no mask", "bird", "uncertain"]


def test_items_of_any_shape_share_a_preview(tmp_path):
    sizes = [(20, 60), (60, 20), (32, 32), (400, 300)]
    picture = previewed(tmp_path, [block(3, size_hw) for size_hw in sizes])
    assert picture.shape[1] > 3 * 2 * 256
    assert n_like(picture, PALETTE[3]) > len(sizes) * 300


def test_small_images_are_enlarged(tmp_path):
    picture = previewed(tmp_path, [block(3, (24, 24))])
    assert picture.shape[1] == 2 * 256 + 16


def test_labels_are_named_in_the_order_of_the_classes():
    class_map = np.array([[0, 255, 8, 3, 77]], np.uint8)
    classes = {"cat": 8, "bird": 3, "dog": 12}
    named = {8: "cat", 3: "bird", 77: "77", 255: "uncertain"}
    assert list(names_shown([class_map], classes).items()) == list(named.items())
    assert names_shown([], classes) == {0: "no mask"}


def test_a_sheet_of_broken_items_is_none(tmp_path):
    assert sheet_png([], CLASSES, 128) is None
    assert preview.COLUMNS == 3
