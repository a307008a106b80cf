"""Which steps, layers and resolutions count."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from slow_reference import BIRD, Kept, SlowReference, largest_error, run

from diffumask.attention.capture import capture
from diffumask.attention.running_means import Attention
from diffumask.attention.steps import are_chosen, check_steps
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric


def captured(
    pipe: Any,
    steps: int = 2,
    options: dict[str, Any] | None = None,
    share: tuple[float, float] = (0.0, 1.0),
    **choice: Any,
) -> tuple[Attention, SlowReference]:
    slow = SlowReference(pipe)
    with slow.watching(), capture(pipe, ["bird", "grass"], steps=share, **choice) as attention:
        run(pipe, BIRD, steps, **options or {})
    return attention, slow


def error(pipe: Any, of: tuple[Attention, SlowReference], counts: Callable[[Kept], bool]) -> float:
    return largest_error(pipe, *of, [BIRD], counts)


def with_scheduler(pipe: DiffusionPipeline, kind: Any) -> StableDiffusionPipeline:
    scheduler = kind.from_config(pipe.scheduler.config, skip_prk_steps=True)
    return StableDiffusionPipeline(
        **(pipe.components | {"scheduler": scheduler}), requires_safety_checker=False
    )


@pytest.mark.parametrize(
    ("steps", "timesteps", "expected"),
    [
        ((0.0, 1.0), [9, 5, 1], "111"),
        ((0.0, 0.5), [9, 7, 5, 3], "1100"),
        ((0.5, 1.0), [9, 7, 5, 3], "0011"),
        ((0.0, 1 / 3), [9, 7, 5, 3], "1000"),
        ((1 / 3, 2 / 3), [9, 7, 5, 3], "0110"),
        ((0.5, 1.0), [9, 5, 5, 1, 1], "01111"),  # Heun: three steps; the middle one at 0.5
        ((0.0, 0.4), [9, 5, 5, 1, 1], "10000"),
        (lambda i, n: i == n - 1, [9, 5, 5, 1, 1], "00011"),
    ],
)
def test_steps_are_distinct_timesteps(steps: Any, timesteps: list, expected: str) -> None:
    chosen = are_chosen(steps, list(map(float, timesteps)))
    assert chosen == [digit == "1" for digit in expected]


@pytest.mark.parametrize("steps", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1), (3.0, 7.0)])
def test_a_share_that_is_none_is_refused(pipe: DiffusionPipeline, steps: Any) -> None:
    with pytest.raises(InputError, match="0 <= start < stop <= 1"):
        check_steps(steps)
    with pytest.raises(InputError, match="share"), capture(pipe, ["bird"], steps=steps):
        pass


def test_a_share_without_a_step_is_refused(pipe: DiffusionPipeline) -> None:
    with (
        pytest.raises(InputError, match=r"\(0\.0, 0\.1\) to keep a step, got none of 2"),
        capture(pipe, ["bird"], steps=(0.0, 0.1)),
    ):
        run(pipe, BIRD, steps=2)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # in that of DPM2
@pytest.mark.parametrize(
    ("kind", "n_evaluations", "n_distinct"),
    # Heun and PNDM come to a timestep twice, DPM2 goes through others in between.
    [
        (DDIMScheduler, 4, 4),
        (HeunDiscreteScheduler, 7, 4),
        (KDPM2DiscreteScheduler, 7, 7),
        (PNDMScheduler, 5, 4),
    ],
)
def test_a_share_of_the_trajectory_counts(
    pipe: DiffusionPipeline, kind: type, n_evaluations: int, n_distinct: int
) -> None:
    own = with_scheduler(pipe, kind)
    attention, slow = captured(own, steps=4, share=(0.5, 1.0))
    timesteps = list(dict.fromkeys(kept.timestep for kept in slow.kept))
    late = timesteps[n_distinct // 2 :]
    assert len(slow.kept) == n_evaluations * len(slow.layers())
    assert len(timesteps) == n_distinct
    assert error(own, (attention, slow), lambda kept: kept.timestep in late) < 1e-5
    assert error(own, (attention, slow), lambda kept: kept.timestep not in late) > 1e-4


def test_the_trajectory_of_an_image_begins_late(pipe: DiffusionPipeline) -> None:
    own = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    image = torch.rand(1, 3, 64, 48)
    attention, slow = captured(
        own, steps=8, options={"image": image, "strength": 0.5}, share=(0.0, 0.5)
    )
    timesteps = list(dict.fromkeys(kept.timestep for kept in slow.kept))
    assert len(timesteps) == 4
    assert error(own, (attention, slow), lambda kept: kept.timestep in timesteps[:2]) < 1e-5


def test_layers_count_by_name(pipe: DiffusionPipeline) -> None:
    attention, slow = captured(pipe, layers=lambda name: name.startswith("up_blocks"))
    assert set(attention.maps) == {(8, 6), (4, 3)}
    assert error(pipe, (attention, slow), lambda kept: kept.layer.startswith("up_blocks")) < 1e-5
    assert error(pipe, (attention, slow), lambda kept: True) > 1e-4


def test_resolutions_count_by_their_factor(pipe: DiffusionPipeline) -> None:
    attention, slow = captured(pipe, resolutions={1, 4})
    assert attention.factors == {(8, 6): 1, (2, 2): 4}
    assert error(pipe, (attention, slow), lambda kept: True) < 1e-5


@pytest.mark.parametrize("choice", [{"resolutions": [16]}, {"layers": lambda name: False}])
def test_a_choice_that_leaves_no_layer_is_refused(pipe: DiffusionPipeline, choice: dict) -> None:
    with (
        pytest.raises(InputError, match=r"resolutions among \[1, 2, 4\]"),
        capture(pipe, ["bird"], **choice),
    ):
        pass


def test_all_heads_are_told(pipe: DiffusionPipeline) -> None:
    attention, slow = captured(pipe, steps=1)
    n_heads = dict.fromkeys(slow.sizes(), 0)
    for kept in slow.kept:
        n_heads[kept.size_hw] += kept.probabilities.shape[1]
    assert attention.n_heads == n_heads
