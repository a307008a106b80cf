"""The renderer's truth is exact, seeded and split by sprite."""

import numpy as np
import pytest

from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import read_records
from diffumask.errors import InputError
from diffumask.scenes import load_catalog, render_scene, sprites
from diffumask.scenes.__main__ import FIRST_SEED, write_scenes
from diffumask.scenes.backgrounds import PATTERNS, draw_background
from diffumask.scenes.clutter import CLUTTERS
from diffumask.scenes.variation import PLAIN, STRONG, Variation

needs_font = pytest.mark.skipif(
    sprites.find_font() is None, reason="the font Noto Color Emoji is not installed"
)

VOC_WITHOUT_SPRITE = {11}  # diningtable


def test_catalog_has_voc_and_more():
    catalog = load_catalog()
    ids = [entry.class_id for entry in catalog.classes.values()]
    assert len(set(ids)) == len(ids) >= 24
    assert set(range(1, 21)) - set(ids) == VOC_WITHOUT_SPRITE
    plain = [entry for entry in catalog.backgrounds.values() if not entry.is_busy]
    busy = [entry for entry in catalog.backgrounds.values() if entry.is_busy]
    assert len(plain) >= 10
    assert len(busy) >= 6
    assert all(entry.pattern in PATTERNS and len(entry.colours) == 2 for entry in plain)
    assert all(entry.pattern in CLUTTERS and len(entry.colours) > 2 for entry in busy)


def test_splits_share_no_sprite():
    for entry in load_catalog().classes.values():
        splits = entry.train, entry.test, entry.judge
        names = [name for split in splits for name in split]
        sprites_shown = [sprite for split in splits for sprite in split.values()]
        assert len(set(names)) == len(names)
        assert len(set(sprites_shown)) == len(sprites_shown)


@pytest.mark.parametrize("size_hw", [(24, 40), (40, 24)])
@pytest.mark.parametrize("name", sorted(load_catalog().backgrounds))
def test_background_is_seeded_and_of_the_size_asked_for(name, size_hw):
    background = load_catalog().backgrounds[name]
    first, again, other = (
        draw_background(background, size_hw, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (*size_hw, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_busy_grounds_have_more_edges_than_plain_ones():
    def edges(background) -> float:
        image = draw_background(background, (96, 128), np.random.default_rng(0)).astype(float)
        return float(np.abs(np.diff(image, axis=1)).mean())

    grounds = load_catalog().backgrounds.values()
    plain = [edges(one) for one in grounds if not one.is_busy]
    busy = [edges(one) for one in grounds if one.is_busy]
    assert np.median(busy) > 2 * np.median(plain)


@needs_font
def test_of_a_hundred_scenes_two_fifths_show_two_objects_and_the_border_cuts_some():
    scenes = [render_scene(seed, (48, 64)) for seed in range(100)]
    assert 30 <= sum(len(scene.objects) == 2 for scene in scenes) <= 50
    border = np.ones((48, 64), bool)
    border[1:-1, 1:-1] = False
    cut = [one for scene in scenes for one in scene.objects if (one.mask & border).sum() > 6]
    assert len(cut) >= 10
    assert all(one.mask.any() for scene in scenes for one in scene.objects)


@needs_font
def test_same_seed_same_scene():
    first, again = render_scene(7, (48, 64)), render_scene(7, (48, 64))
    assert first.caption == again.caption
    assert np.array_equal(first.image, again.image)


@needs_font
def test_splits_of_one_seed_differ():
    train, test, judge = (render_scene(7, split=split) for split in ("train", "test", "judge"))
    assert not np.array_equal(train.image, test.image)
    assert not np.array_equal(train.image, judge.image)


@needs_font
def test_a_judge_sees_sprites_of_all_hues_shapes_and_turns():
    def colour(seed: int, variation: Variation) -> float:
        scene = render_scene(seed, (96, 96), class_names=["mushroom"], variation=variation)
        red, green, _ = scene.image[scene.objects[0].mask].mean(0)
        return red - green

    plain, strong = ([colour(seed, one) for seed in range(8)] for one in (PLAIN, STRONG))
    assert min(plain) > 0  # a toadstool is red
    assert np.std(strong) > np.std(plain)


@needs_font
@pytest.mark.parametrize("seed", range(12))
def test_class_map_is_the_union_of_disjoint_object_masks(seed):
    scene = render_scene(seed, (64, 96))
    assert scene.image.shape == (64, 96, 3)
    counted = np.zeros((64, 96), int)
    for item in scene.objects:
        counted += item.mask
        assert (scene.class_map[item.mask] == item.class_id).all()
    assert counted.max() == 1
    assert np.array_equal(counted == 1, scene.class_map > 0)


@needs_font
def test_caption_names_every_object_and_the_background():
    names = ["potted plant", "tv monitor", "bird"]
    scene = render_scene(3, (64, 96), class_names=names)
    assert [item.class_name for item in scene.objects] == names
    phrase = load_catalog().backgrounds[scene.background].phrase
    assert all(name in scene.caption for name in [*names, phrase])


@needs_font
def test_mask_lies_where_the_object_was_drawn():
    """Slow twin: what differs strongly from a scene's own background is the object."""
    scene = render_scene(5, (96, 128), class_names=["elephant"])
    (elephant,) = scene.objects
    inside = scene.image[elephant.mask].mean(0)
    outside = scene.image[~elephant.mask].mean(0)
    assert elephant.mask.mean() > 0.05
    assert np.abs(inside - outside).max() > 20


@needs_font
def test_every_sprite_can_be_drawn():
    for entry in load_catalog().classes.values():
        for emoji in [*entry.sub_classes("judge").values(), *entry.test.values()]:
            pixels = sprites.sprite(emoji)
            assert min(pixels.shape[:2]) > 30
            assert pixels[..., 3].max() == 255


def test_without_the_font_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv(sprites.FONT_VARIABLE, "/nowhere/NotoColorEmoji.ttf")
    sprites._font.cache_clear()
    sprites.sprite.cache_clear()
    with pytest.raises(InputError, match="fonts-noto-color-emoji"):
        sprites.sprite("🐟")


@needs_font
def test_scenes_are_written_as_a_dataset_that_goes_on(tmp_path):
    for count in (2, 3):
        write_scenes(tmp_path, count, ["bird", "cat"], "test", seed=1)
    records = read_records(tmp_path)
    assert [record.fields["seed"] - FIRST_SEED for record in records] == [1, 2, 3]
    for record in records:
        shown = np.unique(read_example(tmp_path, record).class_map)
        assert (
            set(shown) <= {0, *(one["class_id"] for one in record.fields["targets"])} <= {0, 3, 8}
        )


@needs_font
def test_a_class_of_no_sprite_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="got 'brd'"):
        write_scenes(tmp_path / "new", 1, ["brd"], "train", seed=0)
    assert not (tmp_path / "new").exists()


@needs_font
def test_objects_of_a_seed_lie_alike_on_any_ground():
    names, grounds = ["cat", "bus"], load_catalog().backgrounds
    plain = render_scene(3, (64, 96), class_names=names)
    busy = render_scene(3, (64, 96), class_names=names, ground=grounds["books"])
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    given = render_scene(3, (64, 96), class_names=names, ground=image)
    assert busy.background == "books"
    assert grounds["books"].phrase in busy.caption
    assert given.caption.split()[-1] in names
    for scene in (busy, given):
        assert np.array_equal(scene.class_map, plain.class_map)
        assert not np.array_equal(scene.image, plain.image)
