"""How many images are sampled at a time where nobody says."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from commands import call, done

from diffumask.dataset.run import read_run
from diffumask.generation.batch import MOST, by_memory, by_size
from diffumask.generation.cost import GPU_GIB, GPUS, MODELS, Work
from diffumask.models import Loading

GIB = 2**30
SD15 = Work("sd15", 512, 512, 30, True, 1)
SDXL = Work("sdxl", 1024, 1024, 30, True, 1)
MINE = replace(SD15, model="mine")


def of_gpu(work: Work, gib: float, dtype: str = "float16") -> int:
    return by_memory(work, dtype, int(gib * GIB), is_gpu=True).size


def test_a_large_gpu_has_as_many_images_as_keep_it_busy():
    assert 16 <= of_gpu(SD15, 79) <= 32
    assert 4 <= of_gpu(SDXL, 79) <= 8
    assert of_gpu(replace(SD15, guided=False), 79) == MOST
    assert of_gpu(SD15, 1000) == of_gpu(SD15, 79)
    assert of_gpu(replace(SD15, height=1024, width=1024), 79) < of_gpu(SD15, 79)
    assert of_gpu(Work("flux", 1024, 1024, 28, False, 1), 79) == 1


@pytest.mark.parametrize("model", MODELS)
def test_more_memory_is_never_fewer_images_and_all_are_powers_of_two(model):
    side = MODELS[model].side_px
    sizes = [of_gpu(Work(model, side, side, 30, True, 1), gib) for gib in (0, 4, 8, 16, 24, 80)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert all(size.bit_count() == 1 and size <= MOST for size in sizes)


def test_little_memory_is_told_and_numbers_of_fewer_bits_take_less():
    small = by_memory(SD15, "float16", 8 * GIB, is_gpu=True)
    assert 2 <= small.size <= 8
    assert small.why == "by 8.0 GiB free"
    assert of_gpu(SDXL, 24) > of_gpu(SDXL, 24, "float32")
    assert of_gpu(replace(SDXL, loading=Loading(quantize="nf4")), 12) >= of_gpu(SDXL, 12)
    assert "keep a GPU busy with sd15, with 79.0 GiB free" in (
        by_memory(SD15, "float16", 79 * GIB, is_gpu=True).why
    )


def test_an_unknown_model_and_a_cpu_have_no_more_than_the_image_size_gives():
    assert by_size(SD15).size == by_size(MINE).size == 4
    assert by_size(replace(MINE, height=128, width=128)).size == 8
    assert by_size(replace(MINE, height=2048, width=2048)).size == 1
    assert of_gpu(MINE, 79) == 4
    assert of_gpu(MINE, 1) == 1
    assert by_memory(SD15, "float32", 500 * GIB, is_gpu=False).size == 4
    assert by_memory(SD15, "float32", 6 * GIB, is_gpu=False).size == 1


def test_every_gpu_of_the_table_has_its_memory():
    assert GPU_GIB.keys() == GPUS.keys()


DRY = ("--dry-run", "--class", "bird", "-n", 4)


def batch_line(*words) -> str:
    return next(line for line in done("generate", *words).splitlines() if line[:5] == "batch")


def test_a_dry_run_tells_the_batch_of_another_machine_and_why(tmp_path):
    words = (*DRY, "--out", tmp_path / "x", "--model", "sd15")
    of_h100 = batch_line(*words, "--gpu", "H100")
    assert of_h100.endswith(" (as many as keep a GPU busy with sd15, with 80.0 GiB free)")
    assert batch_line(*words, "--gpu", "T4").endswith("(by 16.0 GiB free)")
    assert (
        batch_line(*words, "--pace", 1)
        == "batch   4 images at a time (by the image size of 512x512)"
    )
    assert batch_line(*words, "--pace", 1, "--batch-size", 3).endswith("time (as asked for)")
    assert "same for all shards" in batch_line(*words, "--gpu", "H100", "--shard", "1/2")


def test_a_run_says_its_batch_and_a_folder_goes_on_with_it(
    tmp_path, tiny_random_folder, monkeypatch
):
    out = tmp_path / "out"
    small = ("--num-inference-steps", 1, "--height", 16, "--width", 24)
    words = ("generate", "--model", tiny_random_folder, *small, "--out", out, "--class", "bird")
    words = (*words, "--device", "cpu")

    def leave(free_bytes):
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free_bytes))

    leave(10**7)
    said = re.search(r"(\d) images at a time, by 0.0 GiB free", call(*words, "-n", 1).stderr)
    assert said is not None
    leave(10**12)
    assert f"{said[1]} images at a time, as in the folder so far" in call(*words, "-n", 2).stderr
    assert read_run(out).batch_size == int(said[1]) < 8
    done(*words, "-n", 3, "--batch-size", 5)
    assert "5 images at a time, as in the folder so far" in call(*words, "-n", 4).stderr
