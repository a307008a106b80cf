from dataclasses import replace

import pytest
from commands import done, refused

from diffumask.generation.cost import (
    GPUS,
    MODELS,
    UTILIZATION,
    Work,
    gpu_bytes,
    item_bytes,
    seconds_per_image,
)
from diffumask.models import Loading

SD15 = Work("sd15", 512, 512, 30, True, 4)


def test_the_time_is_what_was_given_or_measured_or_follows_from_arithmetic():
    assert seconds_per_image(SD15, "A100", pace_s=2.5).value == 2.5
    tiny = Work("tiny", 128, 64, 10, True, 8)
    assert seconds_per_image(tiny).value == pytest.approx(0.38 / 4)
    model = MODELS["sd15"]
    tflop = 60 * model.step_tflop + model.decode_tflop
    by_arithmetic = seconds_per_image(SD15, "A100")
    assert by_arithmetic.value == pytest.approx(tflop / GPUS["A100"] / UTILIZATION)
    assert "not measured" in by_arithmetic.source
    half = seconds_per_image(replace(SD15, guided=False), "A100").value
    assert half == pytest.approx((30 * model.step_tflop + model.decode_tflop) / 312 / 0.35)


def test_what_is_not_known_is_not_told():
    assert seconds_per_image(SD15).value is None
    assert seconds_per_image(replace(SD15, model="mine"), "A100").value is None
    assert gpu_bytes(replace(SD15, model="mine")).value is None


def test_memory_grows_with_the_batch_and_disk_follows_what_was_made():
    eight, four = gpu_bytes(replace(SD15, batch_size=8)).value, gpu_bytes(SD15).value
    assert (eight or 0) > (four or 0) > 2 * 10**9
    assert item_bytes(SD15, False, (4, 100)).value == 25
    with_maps, without = item_bytes(SD15, True).value, item_bytes(SD15, False).value
    assert (with_maps or 0) > (without or 0) > 400_000


def test_memory_is_less_with_fewer_bits_and_with_images_decoded_one_by_one():
    def figure(**loading):
        return gpu_bytes(replace(SD15, loading=Loading(**loading)))

    plain, int8, nf4, tiles = (
        figure(**one)
        for one in ({}, {"quantize": "int8"}, {"quantize": "nf4"}, {"vae_tiling": True})
    )
    matrices = MODELS["sd15"].quantized_billion * 1e9
    assert (plain.value or 0) - (int8.value or 0) == pytest.approx(matrices)
    assert (plain.value or 0) - (nf4.value or 0) == pytest.approx(matrices * 1.4375)
    assert "in int8 and float16" in int8.source
    assert (tiles.value or 0) < (plain.value or 0)
    assert tiles.source.endswith("one image at a time")
    assert "which is not counted" in figure(offload="model").source


DRY = ("generate", "--class", "bird", "--dry-run")


def test_a_dry_run_starts_nothing(tmp_path):
    out = tmp_path / "out"
    words = ("--n", 1000, "--model", "sd15", "--gpu", "L4", "--out", out, "--shard", "1/3")
    items, batch, time, memory, disk, last = done(*DRY, *words).splitlines()
    assert items == f"items   336 planned, 0 in {out}, 336 to make"
    assert (
        batch
        == "batch   4 images at a time (by the image size of 512x512, the same for all shards)"
    )
    assert "Tflop/s of the data sheet of L4" in time
    assert "GiB" in memory
    assert "free" in disk
    assert last == "nothing was started"
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "Abacus"], "expected a GPU T4"),
        (["--pace", 0], "expected a pace in seconds"),
        (["--model", "owner/name"], "nothing is known before it is downloaded"),
    ],
)
def test_a_dry_run_of_what_is_unknown_is_refused(words, message):
    assert message in refused(*DRY, "--n", 1, *words)


def test_a_dry_run_tells_time_and_memory_of_transformers_by_name(tmp_path):
    words = ["generate", "--class", "bird", "-n", 1, "-o", tmp_path / "x", "--dry-run"]

    def told(model, *more):
        text = done(*words, "--model", model, "--gpu", "H100", *more)
        assert "not known" not in text
        return text

    assert "weights of 31.4 GiB" in told("flux")
    # guidance as an input takes no evaluation of its own
    assert f"{28 * MODELS['flux'].step_tflop + MODELS['flux'].decode_tflop:.0f} Tflop" in told(
        "flux"
    )
    assert f"{56 * MODELS['sd3'].step_tflop + MODELS['sd3'].decode_tflop:.0f} Tflop" in told("sd3")
    for model in set(MODELS) - {"sd15", "sd21", "sdxl"}:
        told(model)
    assert not (tmp_path / "x").exists()
