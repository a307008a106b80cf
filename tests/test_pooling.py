"""The grids that self-attention is pooled to, and means over areas."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_reference import area_mean

from diffumask.attention.defaults import ENOUGH_MATRIX_CELLS, MAX_MATRIX_CELLS
from diffumask.attention.pooling import AreaMean, matrix_factor, matrix_hw
from diffumask.attention.running_means import halved

pytestmark = pytest.mark.numeric

CPU = torch.device("cpu")


def sizes(height: int, width: int) -> dict[int, tuple[int, int]]:
    """The grids of Stable Diffusion 1 for an image, by their factor."""
    return {factor: halved((height // 8, width // 8), factor) for factor in (1, 2, 4, 8)}


@pytest.mark.parametrize(
    ("image_hw", "layers_hw", "grid"),
    [
        ((128, 128), (16, 16), (16, 16)),
        ((256, 256), (32, 32), (32, 32)),
        ((512, 512), (32, 32), (32, 32)),
        ((512, 576), (32, 36), (30, 34)),
        ((512, 768), (32, 48), (26, 39)),
        ((768, 512), (48, 32), (39, 26)),
        ((832, 1216), (26, 38), (26, 38)),
        ((2048, 2048), (32, 32), (32, 32)),
    ],
)
def test_the_grid_of_the_matrix_at_sizes_that_are_used(
    image_hw: tuple[int, int], layers_hw: tuple[int, int], grid: tuple[int, int]
) -> None:
    layers = sizes(*image_hw)[matrix_factor(sizes(*image_hw))]
    assert (layers, matrix_hw(layers)) == (layers_hw, grid)


@given(st.integers(192, 2048), st.integers(192, 2048))
def test_no_size_falls_off_a_cliff(height: int, width: int) -> None:
    of_layers = sizes(height, width)
    layers = of_layers[matrix_factor(of_layers)]
    h, w = matrix_hw(layers)
    finest = of_layers[1]
    assert h * w <= MAX_MATRIX_CELLS
    assert h * w >= min(ENOUGH_MATRIX_CELLS, finest[0] * finest[1])
    assert h <= layers[0]
    assert w <= layers[1]
    if layers[0] * layers[1] <= MAX_MATRIX_CELLS:
        assert (h, w) == layers
    assert h / w == pytest.approx(layers[0] / layers[1], rel=1.75 / min(h, w))
    assert matrix_hw((layers[1], layers[0])) == (w, h)


@given(st.tuples(*4 * [st.integers(1, 9)]), st.integers(0, 2**32 - 1))
def test_a_coarse_cell_is_the_mean_of_its_area(size: tuple[int, ...], seed: int) -> None:
    h, w, to_h, to_w = *size[:2], min(size[0], size[2]), min(size[1], size[3])
    maps = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(seed))
    got = AreaMean((h, w), (to_h, to_w), CPU)(maps)
    assert (got - area_mean(maps, (to_h, to_w))).abs().max() < 1e-6
    by_opencv = cv2.resize(maps[1, 2].numpy(), (to_w, to_h), interpolation=cv2.INTER_AREA)
    assert np.abs(got[1, 2].numpy() - by_opencv).max() < 1e-5


def test_an_axis_that_would_grow_stays() -> None:
    maps = torch.rand(1, 6, 4, generator=torch.Generator().manual_seed(0))
    assert AreaMean((6, 4), (6, 8), CPU)(maps) is maps
    got = AreaMean((6, 4), (3, 8), CPU)(maps)
    assert (got - area_mean(maps, (3, 4))).abs().max() < 1e-6


def test_half_precision_is_averaged_in_single() -> None:
    maps = torch.tensor([[[60000.0, 60000.0]]], dtype=torch.float16)  # their sum overflows
    got = AreaMean((1, 2), (1, 1), CPU)(maps)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(60000, rel=1e-3)
