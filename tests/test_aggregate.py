import math

import numpy as np
import pytest
import torch
from slow_reference import area_mean
from torch import Tensor

from diffumask.attention.aggregate import MERGES, PRESETS, aggregate, localizing_weights
from diffumask.attention.running_means import Attention
from diffumask.errors import InputError
from diffumask.types import FLAT

pytestmark = pytest.mark.numeric

SIZE_HW = (8, 12)


def attention_of(
    maps: dict[tuple[int, int], Tensor], positions: list[dict[str, tuple[int, ...]]]
) -> Attention:
    """Build what a capture of one step would hold; a layer of two heads per size, 1, 2, 4, ..."""
    attention = Attention()
    of_columns = attention.expect(positions)
    for depth, (size_hw, of_size) in enumerate(maps.items()):
        grid = attention.grid(size_hw, 2**depth, of_columns)
        grid.words.total.add_(of_size)
        grid.words.count_of("layer").add_(1)
        grid.n_heads += 2
    return attention


def blob(size_hw: tuple[int, int], row: int, column: int, value: float = 0.5) -> Tensor:
    out = torch.full(size_hw, 0.01)
    out[row, column] = value
    return out


def one_word(*tokens: Tensor) -> Attention:
    h, w = tokens[0].shape
    positions = tuple(range(1, 1 + len(tokens)))
    return attention_of({(h, w): torch.stack(tokens)[None]}, [{"bird": positions}])


def test_a_heat_map_has_the_asked_size_and_peaks_at_one_where_the_attention_does() -> None:
    (heats,) = aggregate(one_word(blob((4, 6), row=1, column=4)), SIZE_HW)

    heat = heats["bird"]
    assert heat.shape == SIZE_HW
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() == 1
    assert np.unravel_index(heat.argmax(), heat.shape)[0] in (2, 3)
    assert np.unravel_index(heat.argmax(), heat.shape)[1] in (8, 9)


def test_it_equals_the_slow_way_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {hw: torch.rand(2, 3, *hw, generator=generator) for hw in [(4, 6), (2, 3)]}
    positions = [{"potted plant": (1, 2), "bird": (4,)}, {"bird": (3,)}]
    attention = attention_of(maps, positions)

    def slow(image: int, columns: list[int]) -> np.ndarray:
        total = np.zeros(SIZE_HW)
        for of_size in maps.values():
            merged = of_size[image, columns].mean(0)[None, None]
            resized = torch.nn.functional.interpolate(
                merged, SIZE_HW, mode="bicubic", align_corners=False
            )[0, 0].numpy()
            total += resized / resized.max() / len(maps)
        total = np.maximum(total, 0)
        return total / total.max()

    first, second = aggregate(attention, SIZE_HW)
    assert list(first) == ["potted plant", "bird"]
    assert list(second) == ["bird"]
    np.testing.assert_allclose(first["potted plant"], slow(0, [0, 1]), atol=1e-6)
    np.testing.assert_allclose(first["bird"], slow(0, [2]), atol=1e-6)
    np.testing.assert_allclose(second["bird"], slow(1, [0]), atol=1e-6)


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("mean", [[0.5, 1.0, 0.75]]),  # of 0.2, 0.4 and 0.3
        ("max", [[0.25, 1.0, 0.75]]),
        ("first", [[1.0, 0.0, 0.0]]),
        ("last", [[0.25, 1.0, 0.75]]),
    ],
)
def test_tokens_are_merged_by_name(merge: str, expected: list[list[float]]) -> None:
    tokens = {
        "mean": (torch.tensor([[0.3, 0.0, 0.2]]), torch.tensor([[0.1, 0.8, 0.4]])),
        "max": (torch.tensor([[0.2, 0.0, 0.6]]), torch.tensor([[0.1, 0.8, 0.4]])),
        "first": (torch.tensor([[0.3, 0.0, 0.0]]), torch.tensor([[0.1, 0.8, 0.4]])),
        "last": (torch.tensor([[0.3, 0.0, 0.2]]), torch.tensor([[0.2, 0.8, 0.6]])),
    }[merge]
    (heats,) = aggregate(one_word(*tokens), (1, 3), merge=merge)
    np.testing.assert_allclose(heats["bird"], expected, atol=1e-6)


def test_resolutions_count_the_same_whatever_their_attention_is() -> None:
    left, right = blob((2, 6), 0, 0, value=0.9), blob((1, 3), 0, 2, value=0.02)
    attention = attention_of(
        {(2, 6): left[None, None], (1, 3): right[None, None]}, [{"bird": (1,)}]
    )
    (heats,) = aggregate(attention, (2, 6))
    assert heats["bird"].max() == 1
    assert heats["bird"][:, 4:].max() > 0.6


def test_resolutions_are_weighted_and_those_without_a_weight_left_out() -> None:
    left, right = blob((2, 6), 0, 0), blob((1, 3), 0, 2)
    attention = attention_of(
        {(2, 6): left[None, None], (1, 3): right[None, None]}, [{"bird": (1,)}]
    )

    def on_the_right(weights: dict[int, float]) -> float:
        return float(aggregate(attention, (2, 6), weights=weights)[0]["bird"][:, 4:].max())

    assert on_the_right({1: 1.0}) < 0.2
    assert on_the_right({1: 1.0, 2: 0.0, 8: 1.0}) == on_the_right({1: 1.0})
    assert on_the_right({1: 4.0, 2: 1.0}) == pytest.approx(on_the_right({1: 1.0, 2: 0.25}))
    assert on_the_right({1: 1.0}) < on_the_right({1: 4.0, 2: 1.0}) < on_the_right({2: 1.0}) == 1


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_the_same_attention_everywhere_gives_no_heat(value: float) -> None:
    (heats,) = aggregate(one_word(torch.full((3, 5), value)), SIZE_HW)
    assert not heats["bird"].any()


def test_attention_of_less_contrast_than_a_level_of_heat_gives_no_heat() -> None:
    noise = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    (none,) = aggregate(one_word(0.3 * (1 - 0.9 * FLAT * noise)), (3, 5))
    assert not none["bird"].any()
    (some,) = aggregate(one_word(0.3 * (1 - 2 * FLAT * noise)), (3, 5))
    assert some["bird"].max() == 1


def test_a_resolution_of_one_pixel_does_not_lower_the_contrast() -> None:
    sharp = blob((4, 6), 1, 4)
    alone = attention_of({(4, 6): sharp[None, None]}, [{"bird": (1,)}])
    both = attention_of(
        {(4, 6): sharp[None, None], (1, 1): torch.full((1, 1, 1, 1), 0.3)}, [{"bird": (1,)}]
    )
    expected, got = aggregate(alone, SIZE_HW), aggregate(both, SIZE_HW)
    np.testing.assert_allclose(got[0]["bird"], expected[0]["bird"], atol=1e-6)


def test_an_image_without_words_has_no_heat_maps() -> None:
    maps = torch.stack([torch.zeros(3, 5), blob((3, 5), 1, 1)])[:, None]
    attention = attention_of({(3, 5): maps}, [{}, {"bird": (2,)}])
    first, second = aggregate(attention, SIZE_HW)
    assert first == {}
    assert list(second) == ["bird"]


def test_no_words_at_all_give_no_heat_maps() -> None:
    attention = attention_of({(3, 5): torch.zeros(2, 0, 3, 5)}, [{}, {}])
    assert aggregate(attention, SIZE_HW) == [{}, {}]


def test_an_unknown_merge_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'mean', 'max', 'first', 'last'"):
        aggregate(one_word(blob((2, 3), 0, 0)), SIZE_HW, merge="median")
    assert list(MERGES) == ["mean", "max", "first", "last"]


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'peaks', 'daam'"):
        aggregate(one_word(blob((2, 3), 0, 0)), SIZE_HW, preset="sum")
    assert list(PRESETS) == ["peaks", "daam"]


@pytest.mark.parametrize("weights", [{}, {4: 1.0}, {1: 0.0}, {1: -1.0}])
def test_weights_that_leave_nothing_are_refused(weights: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r">= 0 of the resolutions \[1\], got {"):
        aggregate(one_word(blob((2, 3), 0, 0)), SIZE_HW, weights=weights)


def test_a_capture_that_saw_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="expected attention of a pipeline call, got none"):
        aggregate(Attention(), SIZE_HW)


def test_daam_needs_each_head() -> None:
    with pytest.raises(InputError, match=r"of each head .* capture\(\.\.\., heads=True\)"):
        aggregate(one_word(blob((2, 3), 0, 0)), SIZE_HW, preset="daam")


def test_attention_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="float32"):
        aggregate(one_word(blob((2, 3), 0, 0, value=math.nan)), SIZE_HW)


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [
        ([(64, 96), (32, 48), (16, 24), (8, 12)], {1: 1.0, 2: 1.0, 4: 1.0}),
        ([(16, 16), (8, 8), (4, 4)], {1: 1.0}),
        ([(8, 12), (4, 6)], {1: 1.0}),
    ],
)
def test_grids_too_coarse_to_tell_an_outline_count_nothing(
    sizes: list[tuple[int, int]], weights: dict[int, float]
) -> None:
    attention = attention_of({hw: torch.rand(1, 1, *hw) for hw in sizes}, [{"bird": (1,)}])
    assert localizing_weights(attention) == weights


@pytest.mark.parametrize("preset", ["peaks", "daam"])
@pytest.mark.parametrize("size_hw", [(4, 6), (3, 5), (4, 12), (16, 6)])
def test_attention_between_the_cells_of_a_coarser_map_counts(
    size_hw: tuple[int, int], preset: str
) -> None:
    fine = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    attention = one_word(fine)
    if preset == "daam":
        grid = attention.grid((8, 12), 1, torch.zeros(1, 1, dtype=torch.long))
        grid.heads["layer"] = fine[None, None, None].expand(1, 1, 2, 8, 12)
    (heats,) = aggregate(attention, size_hw, preset=preset)
    near = (min(8, size_hw[0]), min(12, size_hw[1]))
    averaged = area_mean(fine, near)[None, None]
    resized = torch.nn.functional.interpolate(averaged, size_hw, mode="bicubic")[0, 0].clamp(min=0)
    np.testing.assert_allclose(heats["bird"], (resized / resized.max()).numpy(), atol=1e-6)
