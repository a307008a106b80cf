import json
import shutil
from dataclasses import replace
from functools import partial

import commands
import numpy as np
import pytest
from commands import call, contents, done
from PIL import Image as PillowImage

from diffumask.calibration.file import read_thresholds, write_thresholds
from diffumask.calibration.setting import Setting
from diffumask.dataset.decode import read_image
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import read_maps
from diffumask.dataset.run import read_run
from diffumask.masks.settings import MaskSettings
from diffumask.metrics import iou
from diffumask.sampling.sample import sample_attention

refused = partial(commands.refused, "calibrate")

QUICK = ["--num-inference-steps", 1, "--refiner", "none", "--threshold", "otsu"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory, tiny_random_folder):
    """Three birds of the random model, 16x24 pixels, with their heat maps kept; read only."""
    out = tmp_path_factory.mktemp("made") / "birds"
    words = ["--model", tiny_random_folder, "--height", 16, "--width", 24, "--keep-maps", *QUICK]
    # such a model sees no bird in what it drew
    done("generate", "--class", "bird", "--n", 3, "--out", out, *words, "--least-presence", 0)
    return out


@pytest.fixture
def dataset(birds, tmp_path):
    """A copy of `birds`."""
    return shutil.copytree(birds, tmp_path / "birds")


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
    assert way.startswith("masks: affinity, power 1, mean of a word's tokens, the default grids, ")
    assert way.endswith(f"refiner {thresholds.setting.refiner}, uncertain band 0.02")
    assert last == f"thresholds are in {out}"
    run = json.loads((dataset / "run.json").read_text())["settings"]
    thresholds.check_model(run["model"], run["checkpoint"])
    assert thresholds.reference == f"masks:{masks}"
    assert plot.read_text().count(">bird<") == 1
    assert call("calibrate", *words).exit_code == 0  # in place of the file before


def iou_of_masks(folder, masks):
    """The mean IoU of the written masks of birds with those drawn for them."""
    ious = []
    for record in read_records(folder):
        path = masks / f"{record.name}.png"
        if path.is_file():
            truth = np.array(PillowImage.open(path)) > 0
            written = np.array(PillowImage.open(folder / "masks" / path.name))
            ious.append(iou(written == record.prompt.targets[0].class_id, truth))
    return np.mean(ious)


def test_the_iou_of_a_class_is_that_of_the_masks_that_remask_writes(dataset, masks, tmp_path):
    out = tmp_path / "thresholds.json"
    words = ["--class", "bird", "--data", dataset, "--reference", f"masks:{masks}", "-o", out]
    stdout = done("calibrate", *words)
    found = read_thresholds(out)
    bird = found.classes["bird"]
    # what two masks choose hangs on rounding; that it is what `remask` writes does not
    chosen = "auto" if bird.threshold is None else f"{bird.threshold:.2f}"
    assert f"{chosen:<10} {bird.low:.2f} to {bird.high:.2f}   {bird.iou:.2f}" in stdout
    done("remask", dataset, "--out", tmp_path / "found", "--threshold", out)
    assert iou_of_masks(tmp_path / "found", masks) == pytest.approx(bird.iou, abs=1e-3)
    number = 0.35
    other = replace(bird, threshold=number, iou=bird.ious[bird.thresholds.index(number)])
    write_thresholds(out, replace(found, classes={"bird": other}))
    done("remask", dataset, "--out", tmp_path / "number", "--threshold", out)
    assert iou_of_masks(tmp_path / "number", masks) == pytest.approx(other.iou, abs=1e-3)
    records = read_records(tmp_path / "number")
    flat = 1.0  # the threshold of heat that is the same everywhere
    assert all(record.fields["thresholds"] in ([number], [flat]) for record in records)
    image = read_image(tmp_path / "number", records[0])
    assert np.array_equal(image, read_image(dataset, records[0]))


def test_auto_in_the_setting_of_the_default_writes_the_masks_of_the_default(
    dataset, masks, tmp_path
):
    out = tmp_path / "thresholds.json"
    done(
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
    found = read_thresholds(out)
    settings = MaskSettings()
    same = {name: getattr(settings, name) for name in ("heat", "refiner", "uncertain_band")}
    auto = {"bird": replace(found.classes["bird"], threshold=None)}
    write_thresholds(out, replace(found, setting=replace(found.setting, **same), classes=auto))
    done("remask", dataset, "--out", tmp_path / "auto", "--threshold", out)
    done("remask", dataset, "--out", tmp_path / "default")
    assert contents(tmp_path / "auto" / "masks") == contents(tmp_path / "default" / "masks")


def test_new_items_are_those_that_generate_would_make(
    tiny_random_folder, segmenter_folder, tmp_path, monkeypatch
):
    seen = []

    def in_one_step(pipe, prompts, seeds, settings, on_phase):
        seen.extend(zip([prompt.text for prompt in prompts], seeds, strict=True))
        quick = replace(settings, num_inference_steps=1, presence=False)
        return sample_attention(pipe, prompts, seeds, quick, on_phase)

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
        (["--reference", "transformers:a/b", "--model", "sd1.5"], "did you mean 'sd15'?"),
        (["-o", "thresholds.txt"], "expected thresholds in FILE.json, got thresholds.txt"),
        (["--plot", "curves.jpg"], "expected a plot named *.svg or *.png, got curves.jpg"),
        (["--reference", "masks:drawn"], "expected the dataset that the masks are of"),
        (["--reference", "truth"], "expected a reference masks:DIR or"),
        (["--reference", "affinity"], "expected a reference masks:DIR or"),
        (["--reference", "transformers:"], "expected a reference masks:DIR or"),
        (["--reference", "transformers:nowhere"], "expected a folder with config.json or a hub id"),
        (["--data", "."], "expected a dataset with run.json"),
        (["--data", ".", "--model", "tiny"], "expected no model beside data"),
    ],
)
def test_bad_input_is_one_line_before_any_model_is_loaded(words, message, monkeypatch, tmp_path):
    monkeypatch.setattr("diffumask.models.load", pytest.fail)
    monkeypatch.chdir(tmp_path)
    known = ["--class", "bird", "-o", "thresholds.json", "--reference", "transformers:nowhere"]
    assert message in refused(*known, *words)


def test_a_file_of_something_else_is_left_alone(tmp_path):
    out = tmp_path / "settings.json"
    out.write_text("{}")
    words = ["--class", "bird", "-o", out, "--reference", "masks:drawn", "--data", tmp_path]
    assert "; choose another file" in refused(*words)
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


def test_masks_are_made_as_those_that_thresholds_were_fitted_to(dataset, masks, tmp_path):
    out = tmp_path / "thresholds.json"
    words = ["--class", "bird", "--data", dataset, "--reference", f"masks:{masks}", "-o", out]
    done("calibrate", *words)
    fitted = Setting(refiner="guided", uncertain_band=0.05)
    found = replace(read_thresholds(out), setting=fitted)
    words = ["remask", dataset, "--out", tmp_path / "new", "--threshold", out]
    for other in ({"weights": {1: 1.0, 2: 0.5}}, {"power": 2}):
        write_thresholds(out, replace(found, setting=replace(fitted, **other)))
        assert "expected heat maps made as the thresholds' were" in call(*words).stderr
    write_thresholds(out, found)
    for option, value, message in (
        ("--heat", "attention", "expected heat affinity, with which"),
        ("--affinity", "none", "expected the affinity self-attention, with which"),
        ("--refiner", "crf", "expected the refiner guided, with which"),
        ("--uncertain-band", 0, "expected an uncertain band of 0.05, with which"),
    ):
        line = commands.refused(*words, option, value)
        assert message in line
        assert line.endswith("leave it out, or calibrate anew")
    done(*words, "--refiner", "guided")
    settings = read_run(tmp_path / "new").settings
    kept = {"heat": "affinity", "refiner": "guided", "uncertain_band": 0.05}
    assert {key: settings[key] for key in kept} == kept
    assert settings["threshold"].startswith("calibrated ")


def test_generate_propagates_as_the_file_says(dataset, masks, tmp_path, tiny_random_folder):
    out = tmp_path / "thresholds.json"
    words = ["--class", "bird", "--data", dataset, "--reference", f"masks:{masks}", "-o", out]
    done("calibrate", *words)
    found = read_thresholds(out)
    write_thresholds(out, replace(found, setting=replace(found.setting, power=3)))
    small = ["--model", tiny_random_folder, "--height", 16, "--width", 24]
    words = ["--class", "bird", "--n", 1, *small, *QUICK[:2], "--keep-maps"]
    done("generate", *words, "--threshold", out, "--out", tmp_path / "new")
    assert read_run(tmp_path / "new").heat_made()["power"] == 3
    (once, *_), (thrice,) = (read_records(folder) for folder in (dataset, tmp_path / "new"))
    (heat, before), (same, after) = read_maps(dataset, once), read_maps(tmp_path / "new", thrice)
    word = once.prompt.targets[0].word
    assert np.array_equal(heat[word], same[word])
    assert not np.array_equal(before[word], after[word])


def test_a_file_of_an_earlier_format_is_one_line(dataset, tmp_path):
    old = tmp_path / "thresholds.json"
    old.write_text(json.dumps({"format": 1, "model": "tiny", "classes": {}}))
    line = commands.refused("remask", dataset, "--out", tmp_path / "new", "--threshold", old)
    assert "in format 2, got" in line
    assert line.endswith("with format 1; make it again with diffumask calibrate")
