"""The parts of `python -m benchmarks masks` that are plain arithmetic, on small arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import estimates
from benchmarks.masks import methods, peers, samples, tables
from diffumask.attention import pooling
from diffumask.sampling.observe import observe_attention
from diffumask.sampling.sample import heat_maps
from diffumask.types import Prompt, Target


@pytest.fixture
def item() -> Any:
    rng = np.random.default_rng(0)
    image = np.full((24, 32, 3), 30, np.uint8)
    truth = np.zeros((24, 32), bool)
    truth[4:16, 8:24] = True
    image[truth] = 220
    grids = {1: truth[2::4, 2::4] + 0.1 * rng.random((6, 8)), 2: truth[4::8, 4::8] + 0.1}
    matrix = rng.random((48, 48)).astype(np.float16)
    matrix /= matrix.sum(1, keepdims=True)
    return samples.Item(
        Prompt("a bird on grass", (Target("bird", "bird", 3),)),
        7,
        image,
        (grids[1] / grids[1].max()).astype(np.float32),
        {factor: grid.astype(np.float32) for factor, grid in grids.items()},
        {1: 4, 2: 2},
        matrix.astype(np.float32),
        truth,
        ~truth,
    )


def test_calibration_chooses_on_the_other_half_of_the_class() -> None:
    curves = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.9, 0.0], [0.0, 0.6]])
    classes = ["bird", "bird", "bird", "bird", "cat"]
    # The even birds learn from the odd ones and the other way round; the only cat from all birds.
    assert estimates.calibrated_columns(curves, classes) == [1, 0, 1, 0, 0]
    assert estimates.best_column(curves, classes) == 1  # by class means, not by items


def seen_of(item: Any) -> Any:
    return peers.Seen(item.image, item.grids, item.n_heads, item.matrix, item.truth)


def test_daam_sums_by_heads_and_stretches(item: Any) -> None:
    heat = peers.daam_heat(seen_of(item), leave_out_coarsest=False)
    fine, coarse = (peers.resize(item.grids[factor], item.image).clip(min=0) for factor in (1, 2))
    expected = 4 * fine + 2 * coarse
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(heat, expected, atol=1e-6)
    np.testing.assert_allclose(peers.daam_heat(seen_of(item)), peers.stretched(fine), atol=1e-6)


def test_the_official_map_is_the_mean_of_maps_by_their_peak(item: Any) -> None:
    grids = {factor: np.roll(item.grids[1], factor, axis=1) for factor in (1, 2, 4)}
    seen = peers.Seen(item.image, grids, item.n_heads, item.matrix, item.truth)
    maps = [peers.resize(grids[factor], item.image) for factor in (1, 2)]
    expected = sum(one / one.max() for one in maps) / 2
    np.testing.assert_allclose(peers.official_heat(seen), expected, atol=1e-6)


def test_the_official_code_leaves_nothing_far_from_the_affinity_mask(item: Any) -> None:
    seen = seen_of(item)
    assert (peers.official(seen) == 1)[item.truth].mean() > 0.7
    elsewhere = replace(seen, affinity=item.truth & False)
    assert not peers.official(elsewhere).any()


def test_dataset_diffusion_doubts_what_is_between_its_thresholds(item: Any) -> None:
    still = peers.Seen(
        item.image, item.grids, item.n_heads, np.eye(48, dtype=np.float32), item.truth
    )
    heat = peers.stretched(peers.resize(peers.stretched(item.grids[1]), item.image).clip(0, 1))
    class_map = peers.dataset_diffusion(still)
    assert np.array_equal(class_map == 1, heat >= 0.6)
    assert np.array_equal(class_map == 255, (heat >= 0.5) & (heat < 0.6))


@pytest.mark.parametrize("name", ["DAAM, threshold 0.5", "Dataset Diffusion", "SeeDiff-like"])
def test_flat_attention_gives_peers_an_empty_mask(item: Any, name: str) -> None:
    flat = {factor: np.full_like(grid, 0.2) for factor, grid in item.grids.items()}
    matrix = np.full_like(item.matrix, 1 / 48)
    seen = peers.Seen(item.image, flat, item.n_heads, matrix, item.truth)
    assert not peers.PEERS[name](seen).any()


def test_small_boxes_are_dropped_by_their_box_not_their_area() -> None:
    mask = np.zeros((10, 20), bool)
    mask[np.arange(5), np.arange(5)] = True  # a diagonal of 5 pixels in a box of 25
    mask[8:10, 10:14] = True
    expected = mask.copy()
    expected[8:10] = False
    assert np.array_equal(peers.without_small_boxes(mask, 0.1), expected)


def test_a_curve_is_the_masks_one_by_one(item: Any) -> None:
    heat = methods.enlarge(item.heat, (24, 32))
    got = methods.curves_of(item.image, heat, item.truth, {"same": item.truth}, "none")
    assert len(got.iou) == len(methods.THRESHOLDS) + 1
    for column in (3, 15, -1):
        threshold = [*methods.THRESHOLDS, methods.otsu(heat)][column]
        (mask,) = methods.candidates(item.image, heat, [threshold], "none")
        figures = methods.figures_of(mask, item.truth)
        assert got.iou[column] == pytest.approx(figures.iou)
        assert got.boundary[column] == pytest.approx(figures.boundary)
    np.testing.assert_allclose(got.agreement["same"], got.iou)


def test_what_is_left_out_counts_in_neither() -> None:
    truth = np.array([[1, 1, 1, 0, 0]], bool)
    mask = np.array([[1, 0, 0, 0, 1]], bool)
    left_out = np.array([[0, 0, 1, 0, 1]], bool)
    got = methods.figures_of(mask & ~left_out, truth, left_out)
    assert (got.iou, got.left_out) == (pytest.approx(1 / 2), pytest.approx(2 / 5))


def test_adaptive_takes_the_best_gamma_and_else_otsu() -> None:
    agreement = np.zeros((3, len(methods.THRESHOLDS) + 1))
    agreement[0, methods.THRESHOLDS.index(0.41)] = 0.5
    agreement[1, methods.THRESHOLDS.index(0.31)] = 0.9  # not a gamma
    agreement[2, tables.GAMMA_COLUMNS] = np.linspace(0.1, 0.2, 20)
    expected = [methods.THRESHOLDS.index(0.41), methods.OTSU, methods.THRESHOLDS.index(0.54)]
    assert tables.adaptive_columns(agreement) == expected


def test_an_item_is_judged_and_reported(item: Any) -> None:
    judged = [methods.judge(methods.Job(item, every, None)) for every in (True, False)]
    assert set(judged[1].curves) < set(judged[0].curves)
    assert ("none", "pamr") in judged[0].curves
    rows = tables.peers_table(judged)
    assert [row.count("|") for row in rows] == [7] * len(rows)
    assert len(tables.goals_table(judged)) == 6
    assert any("Refiner: guided" in line for line in tables.ablation_tables(judged))


def test_items_are_read_as_written(item: Any, tmp_path: Path) -> None:
    samples._write(tmp_path / "batch.npz", [item, item])
    first, second = samples.read(tmp_path / "batch.npz")
    for got in (first, second):
        assert (got.prompt, got.seed, got.n_heads) == (item.prompt, item.seed, item.n_heads)
        for name in ("image", "heat", "matrix", "truth", "oracle"):
            np.testing.assert_array_equal(getattr(got, name), getattr(item, name))
        for factor, grid in item.grids.items():
            np.testing.assert_array_equal(got.grids[factor], grid)
    assert [path.name for path in tmp_path.iterdir()] == ["batch.npz"]


def test_a_matrix_on_a_grid_of_its_own_serves_every_procedure(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "MAX_MATRIX_CELLS", 32)
    monkeypatch.setattr(pooling, "ENOUGH_MATRIX_CELLS", 24)
    image = np.random.default_rng(0).integers(256, size=(64, 48, 3)).astype(np.uint8)
    prompt, truth = Prompt("a bird", (Target("bird", "bird", 3),)), np.zeros((64, 48), bool)
    truth[16:48, 16:32] = True
    attention, _ = observe_attention(pipe, [image], [prompt], seeds=[0], affinity=True)
    (one,) = samples._items([prompt], [0], [image], attention, [truth], [truth])
    assert (one.heat.shape, one.matrix.shape) == ((8, 6), (30, 30))
    assert one.sample.affinities["bird"].shape == (6, 5)
    assert peers.grid_of(seen_of(one)).shape == (6, 5)
    (expected,) = heat_maps(attention)
    np.testing.assert_allclose(one.sample.affinities["bird"], expected[1]["bird"], atol=0.1)
    assert methods.judge(methods.Job(one, False, None)).figures
