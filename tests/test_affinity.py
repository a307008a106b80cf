"""The mean self-attention of one grid, and heat maps propagated along it."""

import copy
import itertools
import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_unet
from diffusers import DiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from refusals import with_parts
from slow_reference import BIRD, PLANE, Kept, SlowReference, every_other, run

from diffumask.attention import pooling, readers
from diffumask.attention.aggregate import aggregate
from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.probabilities import pixel_attention
from diffumask.attention.propagate import expand_seeds, propagate, propagated
from diffumask.attention.readers import MatrixReader
from diffumask.attention.recorders import Recorder
from diffumask.attention.running_means import Attention
from diffumask.attention.steps import evenly_spaced
from diffumask.errors import InputError
from diffumask.types import FLAT

pytestmark = pytest.mark.numeric

TWO = [BIRD, PLANE]
WORDS = [["bird"], ["potted plant", "aeroplane"]]


def captured(
    pipe: Any,
    steps: int = 2,
    share: tuple[float, float] = (0.0, 1.0),
    pooled: dict[tuple[int, int], tuple[int, int]] | None = None,
    strides: tuple[int, int] = EVERY_MATRIX,
    **options: Any,
) -> tuple[Attention, SlowReference, np.ndarray]:
    slow = SlowReference(pipe, "attn1", pooled=pooled)
    choice: dict[str, Any] = {"steps": share, "self_attention": True, "matrix_strides": strides}
    with slow.watching(), capture(pipe, WORDS, **choice) as attention:
        images = run(pipe, TWO, steps, **options)
    return attention, slow, images


def slow_mean(slow: SlowReference, size_hw: tuple[int, int], timesteps: set[float]) -> torch.Tensor:
    """Average the full softmax of all heads, layers and steps for the last images of the batch."""
    of_layers: list[Kept] = [
        kept for kept in slow.kept if kept.size_hw == size_hw and kept.timestep in timesteps
    ]
    return torch.stack([kept.probabilities[-2:].mean(dim=1) for kept in of_layers]).mean(dim=0)


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 1.0}])
def test_the_matrix_is_the_mean_of_the_full_softmax(
    pipe: DiffusionPipeline, options: dict[str, Any]
) -> None:
    attention, slow, images = captured(pipe, **options)
    assert np.array_equal(images, run(pipe, TWO, **options))
    ((size_hw, matrices),) = attention.self_matrices.items()
    assert size_hw == (8, 6)
    assert matrices.shape == (2, 48, 48)
    assert matrices.dtype == torch.float32
    expected = slow_mean(slow, size_hw, {kept.timestep for kept in slow.kept})
    assert (expected - expected.mean(dim=-1, keepdim=True)).abs().max() > 1e-4
    assert (matrices - expected).abs().max() < 1e-6
    assert (matrices.sum(dim=-1) - 1).abs().max() < 1e-5


def test_a_share_of_the_steps_counts(pipe: DiffusionPipeline) -> None:
    attention, slow, _ = captured(pipe, steps=4, share=(0.5, 1.0))
    late = set(list(dict.fromkeys(kept.timestep for kept in slow.kept))[2:])
    (matrices,) = attention.self_matrices.values()
    assert (matrices - slow_mean(slow, (8, 6), late)).abs().max() < 1e-6


def fine_layers(slow: SlowReference) -> list[str]:
    return list(dict.fromkeys(kept.layer for kept in slow.kept if kept.size_hw == (8, 6)))


@pytest.mark.parametrize(
    ("share", "strides", "steps", "layers"),
    [
        ((0.0, 1.0), (2, 1), {1, 3, 5}, slice(None)),
        ((0.0, 1.0), (3, 2), {1, 4}, slice(0, None, 2)),
        ((0.0, 1.0), (99, 99), {3}, slice(1, 2)),
        ((0.5, 1.0), (2, 1), {3, 5}, slice(None)),
    ],
)
def test_the_matrix_is_of_evenly_spaced_steps_and_layers_and_no_other_is_computed(
    pipe: DiffusionPipeline,
    monkeypatch: pytest.MonkeyPatch,
    share: tuple[float, float],
    strides: tuple[int, int],
    steps: set[int],
    layers: slice,
) -> None:
    made = []
    monkeypatch.setattr(
        readers, "pixel_attention", lambda *given: made.append(given) or pixel_attention(*given)
    )
    attention, slow, images = captured(pipe, 6, share, strides=strides)
    assert np.array_equal(images, run(pipe, TWO, 6))
    timesteps = list(dict.fromkeys(kept.timestep for kept in slow.kept))
    counted = {timesteps[i] for i in steps}
    seen = fine_layers(slow)[layers]
    assert len(made) == len(counted) * len(seen)
    slow.kept = [kept for kept in slow.kept if kept.layer in seen]
    (matrices,) = attention.self_matrices.values()
    assert (matrices - slow_mean(slow, (8, 6), counted)).abs().max() < 1e-6


def test_a_trajectory_that_another_model_ends_is_seen_in_its_own_middle(xl_pipe: Any) -> None:
    attention, slow, _ = captured(xl_pipe, 10, strides=(99, 1), denoising_end=0.3)
    timesteps = list(dict.fromkeys(kept.timestep for kept in slow.kept))
    assert len(timesteps) == 3
    ((size_hw, matrices),) = attention.self_matrices.items()
    assert (matrices - slow_mean(slow, size_hw, {timesteps[1]})).abs().max() < 1e-6


def test_a_layer_that_a_cache_skips_is_seen_when_it_runs_again(pipe: Any) -> None:
    own = with_parts(pipe, unet=copy.deepcopy(pipe.unet))
    every_other(own.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1)
    attention, _, _ = captured(own, 4, strides=(2, 1))  # due at the second of four
    (sums,) = attention._matrices.values()
    counts = {float(one) for one in sums.counts.values()}
    assert counts == {2.0, 1.0}


def test_each_call_of_a_network_in_a_loop_is_seen(pipe: Any) -> None:
    with capture(pipe, ["bird"], self_attention=True, matrix_strides=(3, 1)) as attention:
        text, _ = pipe.encode_prompt(BIRD, torch.device("cpu"), 1, False)
        for timestep in (500, 400):
            pipe.unet(torch.zeros(1, 4, 8, 6), timestep, text)
    (sums,) = attention._matrices.values()
    assert {float(one) for one in sums.counts.values()} == {2.0}


@pytest.mark.parametrize("strides", [(0, 1), (1, 0)])
def test_strides_that_see_nothing_are_refused(pipe: Any, strides: Any) -> None:
    with (
        pytest.raises(InputError, match=r"matrix_strides \(steps, layers\) from 1 on, got"),
        capture(pipe, ["bird"], self_attention=True, matrix_strides=strides),
    ):
        pass


@given(n=st.integers(1, 200), stride=st.integers(1, 250))
def test_what_is_evenly_spaced_has_like_gaps_and_margins(n: int, stride: int) -> None:
    kept = evenly_spaced(n, stride)
    assert len(kept) == math.ceil(n / stride)
    gaps = {b - a for a, b in itertools.pairwise(kept)}
    assert 0 < max(gaps, default=1) <= min(gaps, default=1) + 1 <= stride + 1
    assert abs(kept[0] - (n - 1 - kept[-1])) <= 1


def test_stable_diffusion_xl_has_a_matrix(xl_pipe: DiffusionPipeline) -> None:
    attention, slow, images = captured(xl_pipe)
    assert np.array_equal(images, run(xl_pipe, TWO))
    ((size_hw, matrices),) = attention.self_matrices.items()
    assert size_hw == (4, 3)  # the finest that attends to itself
    expected = slow_mean(slow, size_hw, {kept.timestep for kept in slow.kept})
    assert (matrices - expected).abs().max() < 1e-6


def test_the_maps_are_those_of_a_capture_without_it(pipe: DiffusionPipeline) -> None:
    attention, _, _ = captured(pipe)
    with capture(pipe, WORDS) as alone:
        run(pipe, TWO)
    assert alone.self_matrices == {}
    assert all(torch.equal(maps, alone.maps[size]) for size, maps in attention.maps.items())


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 1.0}])
@pytest.mark.parametrize("cells_hw", [(6, 5), (8, 4), (3, 2)])
def test_queries_and_keys_of_a_larger_grid_are_pooled(
    pipe: DiffusionPipeline,
    monkeypatch: pytest.MonkeyPatch,
    cells_hw: tuple[int, int],
    options: dict[str, Any],
) -> None:
    monkeypatch.setattr(readers, "matrix_hw", lambda size_hw: cells_hw)
    attention, slow, images = captured(pipe, pooled={(8, 6): cells_hw}, **options)
    assert np.array_equal(images, run(pipe, TWO, **options))
    ((size_hw, matrices),) = attention.self_matrices.items()
    n_cells = cells_hw[0] * cells_hw[1]
    assert size_hw == cells_hw
    assert matrices.shape == (2, n_cells, n_cells)
    expected = slow_mean(slow, size_hw, {kept.timestep for kept in slow.kept})
    assert (expected - expected.mean(dim=-1, keepdim=True)).abs().max() > 1e-4
    assert (matrices - expected).abs().max() < 1e-6
    assert (matrices.sum(dim=-1) - 1).abs().max() < 1e-5
    for of_words in propagated(attention):
        assert {heat.shape for heat in of_words.values()} == {cells_hw}


@pytest.mark.parametrize(
    ("most", "enough", "grid", "factor"),
    [
        (100, 75, (8, 6), 1),  # the finest, as none has enough
        (48, 36, (8, 6), 1),
        (20, 15, (5, 4), 1),
        (20, 12, (4, 3), 2),
        (1, 1, (1, 1), 4),
    ],
)
def test_the_matrix_is_of_the_coarsest_layers_with_enough_cells(
    pipe: DiffusionPipeline,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    enough: int,
    grid: tuple[int, int],
    factor: int,
) -> None:
    monkeypatch.setattr(pooling, "MAX_MATRIX_CELLS", most)
    monkeypatch.setattr(pooling, "ENOUGH_MATRIX_CELLS", enough)
    before = pipe.unet.attn_processors
    with capture(pipe, ["bird"], self_attention=True) as attention:
        run(pipe, BIRD, steps=1)
        processors = pipe.unet.attn_processors.values()
        readers = [one for p in processors if isinstance(p, Recorder) for one in p.readers]
        recording = [one for one in readers if isinstance(one, MatrixReader)]
    assert set(attention.self_matrices) == {grid}
    assert {one.factor for one in recording} == {factor}
    assert pipe.unet.attn_processors == before


def test_the_matrix_is_of_a_resolution_that_counts(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"], resolutions=[2], self_attention=True) as attention:
        run(pipe, BIRD, steps=1)
    assert set(attention.self_matrices) == {(4, 3)}


def test_what_is_held_does_not_grow_with_the_steps(pipe: DiffusionPipeline) -> None:
    held = [sum(one.numel() for one in captured(pipe, steps)[0].sums) for steps in (1, 3)]
    assert held[0] == held[1]


def test_a_compiled_network_that_pools_has_no_graph_break(pipe: DiffusionPipeline) -> None:
    jaxtyping = pytest.importorskip("jaxtyping")
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list) -> Any:
        graphs.append(graph)
        return graph.forward

    with ExitStack() as stack:
        stack.callback(torch.compiler.reset)
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        monkeypatch.setattr(readers, "matrix_hw", lambda size_hw: (6, 5))
        torch.compiler.reset()
        stack.callback(setattr, pipe, "unet", pipe.unet)
        network = small_unet()
        pipe.unet = torch.compile(network, backend=count, fullgraph=True)
        every: dict[str, Any] = {"self_attention": True, "matrix_strides": EVERY_MATRIX}
        for words in (["bird"], ["grass"]):
            with capture(pipe, words, **every) as attention:
                run(pipe, BIRD, steps=2)
        pipe.unet = network
        with capture(pipe, ["grass"], **every) as plain:
            run(pipe, BIRD, steps=2)
    assert len(graphs) == 1
    matrices, expected = attention.self_matrices[6, 5], plain.self_matrices[6, 5]
    assert (matrices - expected).abs().max() < 1e-5


def random_matrix(n: int) -> torch.Tensor:
    return torch.randn(n, n, generator=torch.Generator().manual_seed(1)).softmax(dim=-1)


@pytest.mark.parametrize("power", [0, 1, 4])
def test_propagation_is_the_power_of_the_matrix_times_the_heat(power: int) -> None:
    heats = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    matrix = random_matrix(15)
    moved = (
        np.linalg.matrix_power(matrix.double().numpy(), power)
        @ heats.double().reshape(2, 15).T.numpy()
    )
    stretched = (moved - moved.min(0)) / (moved.max(0) - moved.min(0))
    result = propagate(heats, matrix, power)
    assert result.dtype == torch.float32
    assert np.abs(result.numpy() - stretched.T.reshape(2, 3, 5)).max() < 1e-3


def test_a_flat_heat_map_stays_without_a_place() -> None:
    heats = torch.stack([torch.zeros(2, 3), torch.full((2, 3), 0.3)])
    assert not propagate(heats, random_matrix(6)).any()
    assert not expand_seeds(heats, random_matrix(6)).any()


@pytest.mark.parametrize("spread", [propagate, expand_seeds])
def test_contrast_that_could_be_rounding_has_no_place(
    spread: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    rng = torch.Generator().manual_seed(0)
    matrix = random_matrix(6)
    for scale in (1e-3, 1.0):
        noisy = scale * (1 - FLAT * torch.rand(1, 2, 3, generator=rng))
        assert not spread(noisy, matrix).any()


def test_rounding_moves_propagated_heat_by_less_than_can_be_seen() -> None:
    rng = torch.Generator().manual_seed(0)
    matrix = torch.eye(16)  # keeps the contrast, so that what is stretched is just not flat
    heats = 1 - 1.01 * FLAT * torch.linspace(0, 1, 16).reshape(1, 4, 4)
    rounded = heats * (1 + 1e-6 * (2 * torch.rand(1, 4, 4, generator=rng) - 1))
    assert propagate(heats, matrix).max() == 1
    assert (propagate(heats, matrix) - propagate(rounded, matrix)).abs().max() < 1e-3


def test_propagation_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="matrix of 6 cells, got 4"):
        propagate(torch.zeros(1, 2, 3), random_matrix(4))
    with pytest.raises(ValueError, match="power >= 0, got -1"):
        propagate(torch.zeros(1, 2, 3), random_matrix(6), power=-1)
    with pytest.raises(ValueError, match="max_rounds >= 1, got 0"):
        expand_seeds(torch.zeros(1, 2, 3), random_matrix(6), max_rounds=0)


def two_regions(size_hw: tuple[int, int], n_left: int) -> torch.Tensor:
    """Self-attention of an image whose left columns attend to each other, as do the others."""
    left = (torch.arange(size_hw[1]) < n_left).expand(size_hw).flatten()
    return (9.0 * (left[:, None] == left[None]) + 0.1).softmax(dim=-1)


def test_seeds_grow_to_the_region_that_attends_to_them() -> None:
    heat = torch.zeros(1, 4, 6)
    heat[0, 1, 0] = 1.0
    heat[0, 2, 1] = 0.9
    heat[0, 3, 5] = 0.2  # too cold for a seed
    grown = expand_seeds(heat, two_regions((4, 6), 2))
    expected = (torch.arange(6) < 2).float().expand(1, 4, 6)
    assert (grown - expected).abs().max() < 1e-3


def test_propagated_heat_is_that_of_each_word_at_the_grid_of_the_matrix(
    pipe: DiffusionPipeline,
) -> None:
    attention, _, _ = captured(pipe)
    heats = aggregate(attention, (8, 6))
    after = propagated(attention)
    assert [list(of_words) for of_words in after] == WORDS
    for image, of_words in enumerate(after):
        for word, heat in of_words.items():
            one = torch.from_numpy(heats[image][word])[None]
            expected = propagate(one, attention.self_matrices[8, 6][image])[0]
            assert heat.shape == (8, 6)
            assert heat.dtype == np.float32
            assert (heat.min(), heat.max()) == (0.0, 1.0)
            # Stretched a hundredfold, the rounding of sums in another order shows.
            assert np.abs(heat - expected.numpy()).max() < 1e-3
    assert not any(heat.any() for heat in propagated(attention, power=4)[0].values())


def test_propagation_without_a_matrix_is_refused(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"]) as attention:
        run(pipe, BIRD, steps=1)
    with pytest.raises(InputError, match=r"got none; use capture.*self_attention"):
        propagated(attention)


def test_images_without_words_have_no_heat(pipe: DiffusionPipeline) -> None:
    with capture(pipe, [[], ["bird"]], self_attention=True) as attention:
        run(pipe, ["a sheep", BIRD], steps=1)
    assert [list(of_words) for of_words in propagated(attention)] == [[], ["bird"]]
