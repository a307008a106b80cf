import json
from dataclasses import replace
from functools import partial

import commands
import numpy as np
import pytest
from commands import call, done
from PIL import Image as PillowImage

from diffumask.calibration.file import read_thresholds, write_thresholds
from diffumask.dataset.decode import read_image
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.sampling.sample import sample_attention

refused = partial(commands.refused, "calibrate")

QUICK = ["--num-inference-steps", 1, "--refiner", "none", "--threshold", "otsu"]


@pytest.fixture
def dataset(tmp_path, tiny_random_folder):
    """Three birds of the random model, 16x24 pixels, with their heat maps kept."""
    out = tmp_path / "birds"
    words = ["--model", tiny_random_folder, "--height", 16, "--width", 24, "--keep-maps", *QUICK]
    done("generate", "--class", "bird", "--n", 3, "--out", out, *words)
    return out


@pytest.fixture
def masks(tmp_path):
    """Masks drawn for two of them."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    for index in (0, 2):
        mask = np.zeros((16, 24), np.uint8)
        mask[4:12, 6:18] = 255
        PillowImage.fromarray(mask).save(folder / f"Bird_{index:06d}.png")
    return folder


def test_drawn_masks_of_a_dataset_give_its_thresholds(dataset, masks, tmp_path):
    out, plot = tmp_path / "thresholds.json", tmp_path / "plots" / "curves.svg"
    words = ["--class", "bird", "--data", dataset, "--reference", f"masks:{masks}", "-o", out]
    result = call("calibrate", *words, "--plot", plot)
    assert result.exit_code == 0, result.output
    *_, row, way, last = result.stdout.splitlines()
    assert row.split()[0] == "bird"
    assert row.split()[-2:] == ["2", "0"]
    thresholds = read_thresholds(out)
    assert way == f"heat maps: {thresholds.heat}, mean of a word's tokens, the default grids"
    assert last == f"thresholds are in {out}"
    run = json.loads((dataset / "run.json").read_text())["settings"]
    thresholds.check_model(run["model"], run["checkpoint"])
    assert thresholds.reference == f"masks:{masks}"
    assert plot.read_text().count(">bird<") == 1
    assert call("calibrate", *words).exit_code == 0  # in place of the file before


def test_remask_takes_the_file(dataset, masks, tmp_path):
    out = tmp_path / "thresholds.json"
    call(
        *("calibrate", "--class", "bird", "--data", dataset),
        *("--reference", f"masks:{masks}", "-o", out),
    )
    result = call("remask", dataset, "--out", tmp_path / "new", "--threshold", out, *QUICK[2:4])
    assert result.exit_code == 0, result.output
    threshold = read_thresholds(out).of("bird")
    records = read_records(tmp_path / "new")
    flat = 1.0  # the threshold of heat that is the same everywhere
    assert all(record.fields["thresholds"] in ([threshold], [flat]) for record in records)
    assert np.array_equal(read_image(tmp_path / "new", records[0]), read_image(dataset, records[0]))


def test_new_items_are_those_that_generate_would_make(
    tiny_random_folder, segmenter_folder, tmp_path, monkeypatch
):
    seen = []

    def in_one_step(pipe, prompts, seeds, settings):
        seen.extend(zip([prompt.text for prompt in prompts], seeds, strict=True))
        return sample_attention(pipe, prompts, seeds, replace(settings, num_inference_steps=1))

    monkeypatch.setattr("diffumask.calibration.sampled.sample_attention", in_one_step)
    words = ["--class", "bird", "--n", 3, "--model", tiny_random_folder, "--batch-size", 2]
    out, folder = tmp_path / "thresholds.json", tmp_path / "made"
    reference = f"transformers:{segmenter_folder}"
    result = call("calibrate", *words, "-o", out, "--reference", reference)
    assert result.exit_code == 0, result.output
    assert "3/3" in result.stderr
    assert read_thresholds(out).reference == reference
    assert call("generate", *words, "--out", folder, *QUICK).exit_code == 0
    assert seen == [
        (record.fields["prompt"], record.fields["seed"]) for record in read_records(folder)
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", 0], "n of 1 or more, got 0"),
        (["--class", "brid"], "did you mean 'bird'?"),
        (["--model", "sd1.5"], "did you mean 'sd15'?"),
        (["-o", "thresholds.txt"], "expected thresholds in FILE.json, got thresholds.txt"),
        (["--plot", "curves.jpg"], "expected a plot named *.svg or *.png, got curves.jpg"),
        (["--reference", "masks:drawn"], "expected the dataset that the masks are of"),
        (["--reference", "truth"], "expected a reference affinity, masks:DIR or"),
        (["--reference", "affinity:drawn"], "expected a reference affinity, masks:DIR or"),
        (["--reference", "transformers:nowhere"], "expected a folder with config.json or a hub id"),
        (["--reference", "oracle"], "expected a reference affinity, masks:DIR or"),
        (["--data", "nowhere"], "expected a dataset with nowhere/run.json"),
        (["--data", "nowhere", "--model", "tiny"], "expected no model beside data"),
    ],
)
def test_bad_input_is_one_line_before_any_model_is_loaded(words, message, monkeypatch, tmp_path):
    monkeypatch.setattr("diffumask.models.load", pytest.fail)
    monkeypatch.chdir(tmp_path)
    assert message in refused("--class", "bird", "-o", "thresholds.json", *words)


def test_a_file_of_something_else_is_left_alone(tmp_path):
    out = tmp_path / "settings.json"
    out.write_text("{}")
    assert "with something else; choose another file" in refused("--class", "bird", "-o", out)
    assert out.read_text() == "{}"


def test_what_a_dataset_cannot_do_is_one_line(dataset, masks, tmp_path):
    words = ["--data", dataset, "-o", tmp_path / "thresholds.json", "--reference", f"masks:{masks}"]
    assert "expected classes of" in refused("--class", "cow", *words)
    for path in masks.iterdir():
        PillowImage.new("L", (24, 16)).save(path)
    line = refused("--class", "bird", *words)
    assert "bird: expected a reference that shows the object" in line
    assert "got none with and 2 without it" in line
    maps = dataset / "maps" / "Bird_000001.safetensors"
    maps.unlink()
    assert "generate with keep_maps" in refused("--class", "bird", *words)
    run = dataset / "run.json"
    run.write_text(run.read_text().replace('"keep_maps": true', '"keep_maps": false'))
    assert "expected a dataset made with keep_maps" in refused("--class", "bird", *words)


def test_thresholds_are_used_on_the_heat_they_were_found_on(dataset, masks, tmp_path):
    out = tmp_path / "thresholds.json"
    call(
        "calibrate",
        "--class",
        "bird",
        "--data",
        dataset,
        "--reference",
        f"masks:{masks}",
        "-o",
        out,
    )
    found = replace(read_thresholds(out), heat="affinity", weights={1: 1.0, 2: 0.5})
    write_thresholds(out, found)
    words = ["remask", dataset, "--out", tmp_path / "new", "--threshold", out]
    assert "expected heat maps made as the thresholds' were" in call(*words).stderr
    write_thresholds(out, replace(found, weights=None))
    assert "expected heat affinity" in call(*words, "--heat", "attention").stderr
    assert "expected the affinity self-attention" in call(*words, "--affinity", "none").stderr
    assert call(*words, *QUICK[2:4]).exit_code == 0
    assert read_run(tmp_path / "new").settings["heat"] == "affinity"
