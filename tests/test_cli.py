import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import call, refused

from diffumask.api.mask_options import MaskOptions
from diffumask.api.model_options import introduce
from diffumask.api.pace import Pace
from diffumask.api.progress import progress
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.generation import pipeline
from diffumask.models import MODELS
from diffumask.sampling.sample import SampleSettings, sample

HEAVY = {"torch", "diffusers", "transformers", "numpy", "cv2", "scipy", "PIL"}


@pytest.fixture
def make(tmp_path, tiny_random_folder):
    """Call generate on the random model with the least work; the folder is `out`."""
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 2]
    words = ["--model", tiny_random_folder, *small, "--out", tmp_path / "out"]
    return lambda *more: call("generate", *words, "--class", "bird", *more)


def test_help_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "diffumask", "generate", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & HEAVY
    assert "--num-inference-steps" in done.stdout


def test_the_version_is_told():
    assert call("--version").stdout.startswith("diffumask 0.")


def test_generate_leaves_a_whole_folder_and_says_where(make, tmp_path):
    result = make("--n", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"3 items in {tmp_path / 'out'}")
    assert result.stdout.endswith(f"look at {tmp_path / 'out' / 'preview.jpg'}\n")
    assert "16x24 px, 1 steps, guidance 7.5" in result.stderr
    assert "3/3" in result.stderr
    run = read_run(tmp_path / "out")
    assert run.classes == {"bird": 3}
    assert run.settings["vocabulary"] == "voc"
    assert run.settings["dtype"] == "float32"
    assert set(run.runs[0]["versions"]) >= {"python", "diffumask", "torch", "diffusers"}
    records = read_records(tmp_path / "out")
    assert [record.fields["index"] for record in records] == [0, 1, 2]
    assert all("bird" in record.fields["prompt"] for record in records)
    assert (tmp_path / "out/preview.jpg").is_file()


def test_a_second_call_makes_what_is_missing(make, tmp_path):
    make("--n", 1)
    before = (tmp_path / "out/images/Bird_000000.png").stat().st_mtime_ns
    result = make("--n", 2, "--class", "Cat")
    assert result.exit_code == 0, result.output
    assert len(read_records(tmp_path / "out")) == 4
    assert (tmp_path / "out/images/Bird_000000.png").stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused_by_name(make):
    make("--n", 1)
    result = make("--n", 1, "--seed", 1, "--threshold", 0.5)
    assert result.exit_code == 2
    assert "another seed (0, now 1), threshold ('otsu - 0.05', now '0.5')" in result.stderr


def test_a_negative_prompt_is_the_one_typed_else_that_of_the_vocabulary(make, tmp_path):
    assert make("--n", 1, "--negative-prompt", "snow").exit_code == 0
    assert read_run(tmp_path / "out").settings["negative_prompt"] == "snow"
    result = make("--n", 2)
    assert result.exit_code == 2
    assert "another negative_prompt ('snow', now 'drawing, cartoon" in result.stderr
    assert make("--n", 2, "--negative-prompt", "snow").exit_code == 0


def test_a_negative_prompt_changes_the_image_and_an_empty_one_is_none(make, tmp_path):
    images = []
    for number, words in enumerate([(), ("--negative-prompt", ""), ("--negative-prompt", "snow")]):
        result = make("--n", 1, *words, "--out", tmp_path / str(number))
        assert result.exit_code == 0, result.output
        images.append((tmp_path / str(number) / "images/Bird_000000.png").read_bytes())
    assert read_run(tmp_path / "1").settings["negative_prompt"] == ""
    assert len(set(images)) == 3


def test_a_negative_prompt_without_guidance_is_refused_before_a_model_is_looked_for():
    words = ("generate", "--class", "bird", "--negative-prompt", "snow", "--guidance-scale")
    line = refused(*words, 1, "--model", "nobody/nothing")
    assert "expected a guidance scale above 1 with a negative prompt, got 1" in line


def test_ctrl_c_tells_how_to_go_on(make, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        return sample(*arguments)

    monkeypatch.setattr(pipeline, "sample", interrupted)
    result = make("--n", 3)
    assert result.exit_code == 130
    out = tmp_path / "out"
    assert f"diffumask: stopped; {out} has 2 of 3 items; run again" in result.stderr
    assert len(read_records(out)) == 2
    assert (out / "preview.jpg").is_file()
    monkeypatch.setattr(pipeline, "sample", sample)
    assert make("--n", 3).exit_code == 0
    assert len(read_records(out)) == 3


def test_a_full_disk_is_one_line(make, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffumask.dataset.writer.append", full)
    result = make("--n", 3)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("run again, finished items are kept")
    assert read_records(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", "brid"], "did you mean 'bird'?"),
        (["--class", "bird", "--n", 0], "n of 1 or more, got 0"),
        (["--class", "bird", "--n", -5], "n of 1 or more, got -5"),
        (["--class", "bird", "--batch-size", 0], "batch-size of 1 or more, got 0"),
        (["--class", "bird", "--guidance-scale", "nan"], "a guidance scale of 0 or more, got nan"),
        (["--class", "bird", "--guidance-scale", -1], "a guidance scale of 0 or more, got -1.0"),
        (["--class", "bird", "--threshold", "high"], "calibrate, got 'high'"),
        (["--class", "bird", "--threshold", 1], "a number in [0, 1) or the .json file"),
        (
            ["--class", "bird", "--threshold", "lost.json"],
            "got lost.json: No such file",
        ),
        (["--class", "bird", "--refiner", "magic"], "a refiner auto, none, crf, "),
        (
            ["--class", "bird", "--affinity", "lost"],
            "affinity train, got 'lost'",
        ),
        (["--class", "bird", "--uncertain-band", -1], "uncertain band in [0, 1), got -1"),
        (["--class", "bird", "--vocabulary", "coco"], "tiny, voc) or a .toml file, got 'coco'"),
        (["--class", "bird", "--height", 100], "height divisible by 8, got 100"),
        (["--class", "bird", "--width", 0], "width divisible by 8, got 0"),
        (["--class", "bird", "--num-inference-steps", 0], "at least 1 num_inference_steps, got 0"),
        (["--class", "bird", "--model", "sd1.5"], "did you mean 'sd15'?"),
    ],
)
def test_bad_input_is_one_line_before_any_model_is_loaded(words, message, monkeypatch):
    monkeypatch.setattr("diffumask.models.load", pytest.fail)
    assert message in refused("generate", *words)


def test_a_model_without_a_unet_with_cross_attention_is_one_line(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiTPipeline"}')
    line = refused("generate", "--class", "bird", "--model", tmp_path)
    assert "got DiTPipeline with neither UNet nor transformer in" in line


def test_corrupted_weights_are_one_line(tmp_path, tiny_random_folder):
    folder = Path(shutil.copytree(tiny_random_folder, tmp_path / "model"))
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    line = refused("generate", "--class", "bird", "--model", folder, "--out", tmp_path / "out")
    assert "expected whole weights" in line
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_one_line(make, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("diffumask.dataset.writer.replace", refuse)
    result = make("--n", 1)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("Permission denied; choose another folder")


def test_the_built_in_model_says_how_to_get_photographs(caplog):
    caplog.set_level("INFO", "diffumask")
    for model in ("tiny", "sd15"):
        introduce(MODELS[model], SampleSettings(20, 4.0, 128, 128))
    tiny, sd15 = caplog.messages
    assert tiny.startswith("model tiny (built in")
    assert "for photographs use sd15" in tiny
    assert "stable-diffusion-v1-5/" in sd15


def test_masks_are_made_again_from_kept_maps(make, tmp_path):
    make("--n", 2, "--keep-maps", "--threshold", 0.5)
    made, again = tmp_path / "out", tmp_path / "again"
    result = call("remask", made, "--out", again, "--threshold", 0.9)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"2 items in {again}; look at {again / 'preview.jpg'}\n"
    assert [record.fields["thresholds"] for record in read_records(again)] == [[0.9]] * 2
    assert read_run(again).settings["threshold"] == "0.9"
    assert all(path.stat().st_size <= 32_000 for path in (made / "maps").iterdir())


def test_images_that_were_decoded_in_float32_are_counted(make, tmp_path, monkeypatch):
    def overflown(*arguments):
        return [replace(one, upcast=True) for one in sample(*arguments)]

    monkeypatch.setattr(pipeline, "sample", overflown)
    result = make("--n", 2)
    assert "2 of them decoded in float32 as the VAE overflowed" in result.stdout
    assert [one.fields["vae_dtype"] for one in read_records(tmp_path / "out")] == ["float32"] * 2


def test_the_device_reaches_a_refiner_with_a_model(make, tmp_path):
    make("--n", 1, "--keep-maps")
    (tmp_path / "config.json").write_text("{}")
    words = ["--refiner", f"sam:{tmp_path}", "--device", "nowhere"]
    result = call("remask", tmp_path / "out", "--out", tmp_path / "again", *words)
    assert result.exit_code == 2
    assert "expected a device of this machine, got 'nowhere'" in result.stderr


def test_remask_refuses_what_it_cannot_do(make, tmp_path):
    make("--n", 1)
    out = tmp_path / "out"
    for words, message in (
        ((out, "--out", tmp_path / "b"), "expected a dataset made with keep_maps"),
        ((out, "--out", out), "expected another folder"),
        ((tmp_path, "--out", tmp_path / "b"), "expected a dataset with"),
    ):
        result = call("remask", *words)
        assert result.exit_code == 2
        assert message in result.stderr.splitlines()[-1]
        assert not (tmp_path / "b").exists()


def test_the_pace_counts_this_run_only(monkeypatch):
    times = iter([100.0, 130.0])
    monkeypatch.setattr("diffumask.api.pace.now", lambda: next(times))
    pace = Pace(total=100, done=90)
    pace.advance(2)
    assert pace.done == 92
    assert str(pace) == "15 s/item, 2 min left"


def test_progress_is_plain_lines_where_there_is_no_terminal(caplog):
    caplog.set_level("INFO", "diffumask")
    with progress("masks", 4, 1, "mask") as advance:
        advance(2)
        advance(1)
    (line,) = caplog.messages
    assert re.fullmatch(r"masks 4/4, [-+.e0-9]+ s/mask", line)


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress("masks", 4, 1) as advance:
        advance(3)
    shown = capsys.readouterr().err
    assert "masks 4/4" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize(
    ("words", "heat"),
    [
        ({}, "affinity"),
        ({"affinity": "none"}, "attention"),
        ({"threshold": "adaptive"}, "attention"),
        ({"threshold": "otsu", "heat": "attention"}, "attention"),
    ],
)
def test_what_has_the_threshold_follows_from_the_options(words, heat):
    assert MaskOptions(**words).open_recipe().settings.heat == heat
