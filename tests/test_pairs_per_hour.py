"""The benchmark of pairs per hour: each way leaves what it is said to."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.pairs_per_hour import AS_OFTEN, OURS, PLAIN, WAYS, Setup, phases, prepare
from diffumask.dataset.listing import read_records


@pytest.fixture(scope="module")
def setup() -> Setup:
    return prepare("small", "cpu", "float32", n=2, steps=1, batch_size=2, real_decoder=False)


def test_plain_sampling_saves_images_alone(setup: Setup, tmp_path: Path) -> None:
    WAYS[PLAIN](setup, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".png"]


def test_generate_leaves_whole_items(setup: Setup, tmp_path: Path) -> None:
    WAYS[OURS](setup, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert len(list(read_records(folder))) == 2


def test_the_settings_of_diffumask_leave_maps_and_two_planes_of_all_classes(
    setup: Setup, tmp_path: Path
) -> None:
    WAYS[AS_OFTEN](setup, tmp_path)
    shapes = sorted(np.load(path).shape for path in tmp_path.glob("*.npy"))
    assert shapes == sorted(2 * [(20, 64, 64), (1, 21, 64, 64), (1, 21, 64, 64)])


def test_phases_cost_what_they_do_one_after_the_other(setup: Setup) -> None:
    took = phases(setup)
    assert list(took) == ["plain sampling", "sampling with heat", "masks", "encoding", "writing"]
    assert all(seconds >= 0 for seconds in took.values())
