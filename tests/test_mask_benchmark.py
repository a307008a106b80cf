"""The benchmark of masks: its scenes, its kept items, the peers' arithmetic, and a small run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from benchmarks.masks import (
    fit_masks,
    items,
    judge,
    masks,
    methods,
    peers,
    samples,
    scenes,
    tables,
    ways,
)
from benchmarks.masks.fitted import Fitted, read_fitted, write_fitted
from diffumask.errors import InputError
from diffumask.models import resolve
from diffumask.proof.controls import CONTROLS
from diffumask.scenes import load_catalog
from diffumask.scenes.sprites import find_font
from diffumask.types import Prompt, Target

needs_font = pytest.mark.skipif(not find_font(), reason="needs Noto Color Emoji")
SIZE_HW = (64, 64)


def seen_of(prompt: Prompt, grids: dict[int, np.ndarray], matrix: np.ndarray) -> items.Seen:
    words = [target.word for target in prompt.targets]
    maps = {
        factor: np.stack([grid] * len(words)).astype(np.float32) for factor, grid in grids.items()
    }
    columns = {word: (i,) for i, word in enumerate(words)}
    of_matrix = (16, 16), matrix.astype(np.float32)
    return items.Seen(prompt, columns, maps, {1: 4, 2: 2}, *of_matrix, dict.fromkeys(words, 0.7))


@pytest.fixture
def item() -> items.Item:
    rng = np.random.default_rng(0)
    image = np.full((64, 64, 3), 30, np.uint8)
    truth = np.zeros((64, 64), np.uint8)
    truth[12:44, 20:52] = 1
    image[truth == 1] = 220
    fine = (truth[2::4, 2::4] == 1) + 0.1 * rng.random((16, 16))
    grids = {1: fine, 2: truth[4::8, 4::8] + 0.1}
    matrix = rng.random((256, 256)) + 100 * np.eye(256)
    matrix = (matrix / matrix.sum(1, keepdims=True)).astype(np.float16)
    right = seen_of(Prompt("a bird on grass", (Target("bird", "bird", 3),)), grids, matrix)
    wrong = seen_of(Prompt("a cat on grass", (Target("cat", "cat", 3),)), grids, matrix)
    return items.Item("one", "bird", 7, image, truth, right, wrong, 0.9)


def test_classes_and_seeds_of_dev_and_test_are_disjoint_and_all():
    dev, test = scenes.load_split("dev"), scenes.load_split("test")
    assert not set(dev.classes) & set(test.classes)
    assert {*dev.classes, *test.classes} == set(load_catalog().classes)
    assert dev.seeds[0] < dev.seeds[1] <= test.seeds[0] < test.seeds[1]


@needs_font
@pytest.mark.parametrize("kind", [name for name, of in scenes.KINDS.items() if not of.generated])
def test_a_scene_is_of_its_kind_and_side(kind: str, tmp_path: Path):
    path = tmp_path / "emu_1.png"
    PillowImage.fromarray(np.full((40, 60, 3), (0, 255, 0), np.uint8)).save(path)
    split, of = scenes.load_split("dev"), scenes.KINDS[kind]
    one, again = (scenes.draw(kind, "fish", 1, split, SIZE_HW, [path]) for _ in range(2))
    assert np.array_equal(one.image, again.image)
    assert split.seeds[0] <= one.seed < split.seeds[1]
    assert one.prompt.targets[0].class_name == "fish"
    assert len(one.prompt.targets) == 1 + of.all_asked
    assert one.wrong in split.classes
    assert one.wrong not in one.prompt.text.split()
    n_labels = len(np.unique(one.truth)) - 1
    assert n_labels == (1 if of.same else of.objects)
    named = one.prompt.text.count(" and ") + 1
    assert named == (n_labels if of.all_named and not of.same else 1 + of.same)
    if of.ground == "photograph":
        assert np.median(one.image[one.truth == 0], 0).tolist() == [0, 255, 0]


@needs_font
def test_a_photograph_named_like_an_object_of_the_scene_is_not_its_ground(tmp_path: Path):
    with pytest.raises(InputError, match="photographs without"):
        scenes.draw(
            "photograph", "dog", 0, scenes.load_split("dev"), SIZE_HW, [tmp_path / "dog_1.jpg"]
        )


@needs_font
def test_a_near_ground_has_the_colour_of_its_object():
    split = scenes.load_split("dev")

    def contrast(kind: str) -> float:
        drawn = [scenes.draw(kind, "mushroom", i, split, SIZE_HW) for i in range(6)]
        means = [
            one.image[one.truth == 1].mean(0) - one.image[one.truth == 0].mean(0) for one in drawn
        ]
        return float(np.abs(means).mean())

    assert contrast("near") < contrast("one") / 2


def test_only_classes_of_the_split_are_asked_and_new_sprites_are_new():
    split, sprites = scenes.load_split("dev"), scenes.KINDS["sprites"]
    assert "sofa" not in scenes.classes_of(sprites, split)
    with pytest.raises(InputError, match="expected classes of dev"):
        scenes.classes_of(sprites, split, ["cat"])
    with pytest.raises(InputError, match="expected kinds among one, two"):
        scenes.chosen_kinds(["four"], [])
    assert "photograph" not in scenes.chosen_kinds([], [])


def test_items_are_read_as_written(item: items.Item, tmp_path: Path):
    items.write(tmp_path / "batch.npz", [item, replace(item, seed=8)])
    first, second = items.read(tmp_path / "batch.npz")
    assert (first.seed, second.seed) == (7, 8)
    for got in (first, second):
        assert (got.right.prompt, got.wrong.prompt) == (item.right.prompt, item.wrong.prompt)
        for name in ("columns", "n_heads", "matrix_hw", "presences"):
            assert getattr(got.right, name) == getattr(item.right, name)
        np.testing.assert_array_equal(got.image, item.image)
        np.testing.assert_array_equal(got.truth, item.truth)
        np.testing.assert_array_equal(got.right.matrix, item.right.matrix)
        for factor, maps in item.right.maps.items():
            np.testing.assert_array_equal(got.right.maps[factor], maps)
    assert [path.name for path in tmp_path.iterdir()] == ["batch.npz"]


def test_kept_attention_gives_the_sample_of_the_package(item: items.Item):
    attention = item.right.attention
    ((size_hw, matrices),) = attention.self_matrices.items()
    assert size_hw == (16, 16)
    np.testing.assert_allclose(matrices[0].numpy(), item.right.matrix, atol=1e-6)
    assert attention.factors == {(16, 16): 1, (8, 8): 2}
    sample = item.sample(item.right)
    grid = item.right.maps[1][0]
    np.testing.assert_allclose(sample.heats["bird"], grid / grid.max(), atol=1 / 255)


def test_controls_without_text_make_the_same_masks_whatever_the_prompt_asks(item: items.Item):
    moved = {factor: np.roll(maps, 5, axis=1) for factor, maps in item.wrong.maps.items()}
    other = replace(item, right=replace(item.wrong, maps=moved))
    first, second = (methods.control_masks(ways.View(one)) for one in (item, other))
    for name in (name for name in CONTROLS if name != "wrong word"):
        np.testing.assert_array_equal(first[name].mask, second[name].mask)
    rough = methods.MaskSettings(refiner="none")
    ours = [methods.masked(ways.View(one).sample, rough) for one in (item, other)]
    assert not np.array_equal(ours[0].mask, ours[1].mask)


def test_daam_sums_by_heads_and_stretches(item: items.Item):
    view = ways.View(item)
    fine = peers.resize(view.grids[1], item.image).clip(min=0)
    np.testing.assert_allclose(peers.daam_heat(view), peers.stretched(fine), atol=1e-6)


def a_view(item: items.Item, **changes: Any) -> Any:
    """A view whose parts are as wanted."""
    view = ways.View(item)
    names = ("image", "grids", "matrix", "affinity", "item", "cells")
    return SimpleNamespace(**{name: getattr(view, name) for name in names} | changes)


def test_the_official_map_is_the_mean_of_maps_by_their_peak(item: items.Item):
    fine = ways.View(item).grids[1]
    grids = {factor: np.roll(fine, factor, axis=1) for factor in (1, 2, 4)}
    maps = [peers.resize(grids[factor], item.image) for factor in (1, 2)]
    expected = sum(one / one.max() for one in maps) / 2
    got = peers.official_heat(a_view(item, grids=grids))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_official_code_leaves_nothing_far_from_the_affinity_mask(item: items.Item):
    way = peers.PEERS["official DiffuMask code"]
    truth = item.truth == 1
    got = way.make(a_view(item, affinity=truth), **way.published)
    assert got.mask[truth].mean() > 0.7
    elsewhere = way.make(a_view(item, affinity=truth & False), **way.published)
    assert not elsewhere.mask.any()


def test_dataset_diffusion_doubts_what_is_between_its_thresholds(item: items.Item):
    view = a_view(item, matrix=ways.View(item).matrix.new_zeros(256, 256).fill_diagonal_(1))
    heat = peers.stretched(peers.resize(peers.stretched(view.cells), item.image).clip(0, 1))
    way = peers.PEERS["Dataset Diffusion"]
    got = way.make(view, **way.published)
    assert np.array_equal(got.mask, heat > 0.6)
    assert got.open_px is not None
    assert np.array_equal(got.open_px, (heat > 0.5) & (heat <= 0.6))


@pytest.mark.parametrize("name", ["DAAM", "Dataset Diffusion", "SeeDiff-like"])
def test_flat_attention_gives_peers_an_empty_mask(item: items.Item, name: str):
    flat = {factor: np.full_like(maps, 0.2) for factor, maps in item.right.maps.items()}
    seen = replace(item.right, maps=flat, matrix=np.full_like(item.right.matrix, 1 / 256))
    for way in (peers.PEERS[name], peers.PEERS[f"{name}, {peers.OUR_REFINER}"]):
        assert not way.make(ways.View(replace(item, right=seen)), **way.published).mask.any()


def test_small_boxes_are_dropped_by_their_box_not_their_area():
    mask = np.zeros((10, 20), bool)
    mask[np.arange(5), np.arange(5)] = True  # a diagonal of 5 pixels in a box of 25
    mask[8:10, 10:14] = True
    expected = mask.copy()
    expected[8:10] = False
    assert np.array_equal(peers.without_small_boxes(mask, 0.1), expected)


def test_every_way_tries_as_many_settings_within_its_ranges_and_its_published_ones():
    tried = fit_masks.candidates(12)
    assert set(tried) == set(methods.WAYS)
    for name, settings in tried.items():
        way = methods.WAYS[name]
        assert len(settings) == 12
        assert settings[0] == way.published
        for one in settings[1:]:
            for key, bounds in way.ranges.items():
                value: Any = one[key]
                inside = (
                    value in bounds if isinstance(value, str) else bounds[0] <= value <= bounds[-1]
                )
                assert inside, (name, key)


def test_settings_are_compared_by_the_mean_over_kinds_of_the_means_over_classes():
    scored = [
        fit_masks.Scored("one", "bird", 0.6, 0.5, {"way": [1.0, 0.0]}),
        fit_masks.Scored("one", "bird", 0.5, 0.4, {"way": [0.0, 0.0]}),
        fit_masks.Scored("one", "cat", 0.7, 0.4, {"way": [0.5, 1.0]}),
        fit_masks.Scored("two", "cat", 0.7, 0.55, {"way": [0.1, 0.3]}),
    ]
    assert fit_masks.means(scored, "way").tolist() == pytest.approx([0.3, 0.4])
    shipped = fit_masks.presence_table(scored)[2]
    assert shipped == "| 0.4900 | 0.0% | 50.0% |"


def test_what_was_fitted_is_read_as_written(tmp_path: Path):
    fitted = Fitted({"settings": 3, "kinds": ["one"]}, {"DAAM, x": {"a": 0.25, "b": 2, "c": "crf"}})
    write_fitted(fitted, tmp_path / "fitted.toml")
    assert read_fitted(tmp_path / "fitted.toml") == fitted


def test_the_committed_settings_are_those_of_procedures():
    fitted = read_fitted().settings
    assert set(fitted) <= set(methods.WAYS)
    for name, settings in fitted.items():
        assert set(settings) == set(methods.WAYS[name].published)


def a_judged(class_name: str, hits: int, union: int, present: bool = True) -> judge.Judged:
    row = {"iou": hits / union, "hits_px": hits, "union_px": union, "empty": float(not hits)}
    of = Path(), 0, "made_one", class_name, present, np.nan, class_name == "cat"
    return judge.Judged(*of, {"ours": row, methods.ASKING: row})


def test_the_iou_of_a_data_set_is_that_of_all_pixels_of_a_class():
    judged = [a_judged("bird", 1, 2), a_judged("bird", 90, 100), a_judged("cat", 1, 4)]
    assert tables.data_set_iou(judged, "ours") == pytest.approx((91 / 102 + 1 / 4) / 2)


def test_absent_objects_count_nothing_and_are_to_be_empty():
    judged = [a_judged("bird", 1, 2), a_judged("bird", 0, 9, present=False), a_judged("cat", 0, 4)]
    cells = tables.absent_table(judged)[-1].split(" | ")
    assert cells[1].startswith("0.500")  # the wrong word was empty for the cat alone
    assert cells[2:5] == ["1 of 3", "100.0%", "50.0%"]
    assert cells[5].startswith("0.125")  # (0.5 + 0) / 2 of the birds, 0 of the cat


@needs_font
def test_a_small_run_fits_on_dev_and_reports_and_a_second_one_asks_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # In this process: others would import torch anew, for seconds.
    monkeypatch.setattr("benchmarks.masks.judge.on_all", lambda work, paths, _: map(work, paths))
    monkeypatch.setattr(
        "benchmarks.masks.fit_masks.on_all", lambda work, paths, _: map(work, paths)
    )
    kept: Any = {"n": 1, "kinds": ["two_asked"], "work": tmp_path, "fitted": tmp_path / "f.toml"}
    fit_masks.main(**kept, classes=["dog"], budget=2)
    report = masks.main(**kept, classes=["cat", "bus"])
    monkeypatch.setattr(samples, "_pipe", None)
    split = scenes.load_split("test")
    plan = samples.Plan(resolve("tiny"), split, ["two_asked"], 1, [], ["cat", "bus"])
    assert [items.read(path)[0].class_name for path in samples.gather(plan, tmp_path)] == [
        "cat",
        "bus",
    ]
    text = "\n".join(report.lines)
    assert "| two objects, both asked | " in text
    assert all(f"| {name} | " in text for name in (*CONTROLS, *methods.WAYS, *methods.STEPS))
    assert "nan" not in text
    report.pictures[0].write(tmp_path / "worst.jpg")
    assert (tmp_path / "worst.jpg").stat().st_size > 1000
