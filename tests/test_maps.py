import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save

from diffumask.dataset.encode import make_record
from diffumask.dataset.maps import encode_maps, maps_path, read_maps
from diffumask.errors import InputError
from diffumask.types import Example, Prompt, Sample, Target

PLANT = Target("potted plant", "potted plant", 16)
LEVELS = arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 9)))


PROMPT = Prompt("a potted plant", (PLANT,))
IMAGE = np.zeros((16, 24, 3), np.uint8)
RECORD = make_record("Bird_000003", Example(PROMPT, 0, IMAGE, IMAGE[..., 0]), {})


def sample(heats, affinities):
    return Sample(PROMPT, 0, IMAGE, heats, affinities)


def write(folder, content):
    path = folder / maps_path("Bird_000003")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@given(LEVELS, LEVELS)
def test_maps_come_back_as_they_were(tmp_path_factory, heat, affinity):
    folder = tmp_path_factory.mktemp("dataset")
    heats = {"potted plant": (heat / 255).astype(np.float32)}
    affinities = {"potted plant": (affinity / 255).astype(np.float32)}
    write(folder, encode_maps(sample(heats, affinities)))
    for read, kept in zip(read_maps(folder, RECORD), (heats, affinities), strict=True):
        assert list(read) == list(kept)
        np.testing.assert_array_equal(read["potted plant"], kept["potted plant"])


def test_a_map_of_stable_diffusion_takes_few_bytes():
    heat = np.ones((64, 64), np.float32)
    affinity = np.ones((32, 32), np.float32)
    assert len(encode_maps(sample({"potted plant": heat}, {"potted plant": affinity}))) < 6000


def test_maps_that_were_not_kept_are_one_line(tmp_path):
    with pytest.raises(InputError, match="generate with keep_maps"):
        read_maps(tmp_path, RECORD)


@pytest.mark.parametrize("keep", [0, 5, -10])
def test_torn_maps_are_refused(tmp_path, keep):
    heats = {"potted plant": np.ones((3, 4), np.float32)}
    write(tmp_path, encode_maps(sample(heats, {}))[:keep])
    with pytest.raises(InputError, match="a damaged file"):
        read_maps(tmp_path, RECORD)


def test_a_file_of_other_tensors_is_refused(tmp_path):
    write(tmp_path, save({"weight": np.zeros((2, 3), np.float32)}))
    with pytest.raises(InputError, match="got 'weight' of 2x3 float32"):
        read_maps(tmp_path, RECORD)
