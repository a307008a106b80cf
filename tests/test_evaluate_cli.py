"""`diffumask evaluate` from options to table, report and figure."""

import json
import re
from functools import partial
from pathlib import Path

import commands
import labelled_folders as folders
import numpy as np
import pytest
from labelled_folders import filled

from diffumask.api.labelled_options import read_classes
from diffumask.labelled.class_tables import known_values

call = partial(commands.call, "evaluate")
refused = partial(commands.refused, "evaluate")


@pytest.fixture
def data(tmp_path):
    return folders.voc(tmp_path / "voc", filled(3), filled(8))


def test_predictions_give_a_table_a_report_and_a_figure(data, tmp_path):
    out, plot, predicted = tmp_path / "report.json", tmp_path / "figure.svg", filled(8)
    predicted[:, :2] = 0
    folders.write_mask(tmp_path / "mine" / "2008_000002.png", predicted)
    before = folders.files(data)
    words = ["--data", data, "--split", "val", "--predictions", tmp_path / "mine"]
    result = call(*words, "--vocabulary", "voc", "-o", out, "--plot", plot, "--workers", 1)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert rows["cat"][1:4] == ["75.0", "75.0", "100.0"]
    assert rows["background"][1] == "0.0"
    assert rows["mean"][-1] == "75.0"  # without background, the later of two
    assert result.stdout.splitlines()[-2:] == [
        f"the report is in {out}",
        f"the figure is in {plot}",
    ]
    raw = json.loads(out.read_text())
    assert (raw["layout"], raw["split"], raw["images"]) == ("voc", "val", 1)
    assert raw["miou_without_background"] == 0.75
    assert "<svg" in plot.read_text()
    assert folders.files(data) == before


def test_a_network_is_judged_with_its_labels_matched_by_name(data, tmp_path, segmenter_folder):
    out = tmp_path / "report.json"
    words = ["--data", data, "--checkpoint", segmenter_folder, "--device", "cpu", "-o", out]
    result = call(*words, "--class", "bird", "--class", "cat")
    assert result.exit_code == 0, result.output
    assert "the network has no label for cat" in result.stdout
    raw = json.loads(out.read_text())
    assert list(raw["classes"]) == ["background", "bird", "cat"]
    assert sum(map(sum, raw["confusion"]["pixels"])) == raw["pixels"] == 2 * 4 * 8
    assert "labels such as cow, got" in refused(*words, "--class", "cow")


def test_class_ids_come_from_json(tmp_path):
    folder = folders.plain(tmp_path / "data", filled(0), filled(1))
    (tmp_path / "ids.json").write_text('{"sky": 0, "road": 1}')
    words = ["--data", folder, "--predictions", folder, "--vocabulary"]
    result = call(*words, tmp_path / "ids.json")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[1:3]] == ["sky", "road"]
    for content in ('{"sky": "0"}', "[]", '{"sky": true}'):
        (tmp_path / "ids.json").write_text(content)
        assert 'expected JSON such as {"bird": 3} in' in refused(*words, tmp_path / "ids.json")
    assert "expected a file of class names, got" in refused(*words, tmp_path / "none.json")


def test_masks_in_black_and_white_are_told_and_can_be_mapped(tmp_path):
    shown = np.zeros(folders.SIZE_HW, np.uint8)
    shown[1:3, 2:6] = 255
    folders.plain(tmp_path / "photos", shown, shown, "images", "masks")
    out = tmp_path / "report.json"
    words = ["--images", tmp_path / "photos/images", "--masks", tmp_path / "photos/masks"]
    words += ["--predictions", tmp_path / "photos/masks", "-o", out, "--json"]
    for mapped, binary in (
        ([], ["truth"]),
        (["--map", "255=1"], ["predictions"]),
        (["--map", "255=1", "--map-predictions", "255=1"], []),
    ):
        result = call(*words, *mapped)
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert told["looks_binary"] == binary == json.loads(out.read_text())["looks_binary"]
        hints = [f"no class is in the {one}: masks in black and white (0 and" for one in binary]
        assert [note[: len(hint)] for note, hint in zip(told["notes"], hints, strict=True)] == hints
    assert (told["miou"], told["classes"]["1"]["pixels"]) == (1.0, 2 * 8)
    assert told["mapped"] == ["255=1"]
    for wrong in ("255", "255=1=2", "a=1", "1=256", "-1=3", "255="):
        assert "mapping VALUE=ID in 0..255" in refused(*words, "--map", wrong)
    assert "a value once" in refused(*words, "--map", "255=1", "--map", "255=2")


def test_each_image_has_its_figures_in_a_table(data, tmp_path):
    out = tmp_path / "images.csv"
    half = filled(8)
    half[:, :2] = 0
    folders.write_mask(tmp_path / "mine" / "2008_000002.png", half)
    folders.write_mask(tmp_path / "mine" / "2007_000001.png", filled(3))
    words = ["--data", data, "--predictions", tmp_path / "mine", "--per-image", out]
    for workers in (1, 2):
        result = call(*words, "--workers", workers, "--class", "bird", "--class", "cat")
        assert result.exit_code == 0, result.output
        assert f"the figures of each image are in {out}" in result.stdout
        assert out.read_text().splitlines() == [
            "image,pixels,pixel_accuracy,miou,iou background,iou bird,iou cat",
            "2007_000001,32,1.0,1.0,,1.0,",
            "2008_000002,32,0.75,0.375,0.0,,0.75",
        ]
    assert "each image named *.csv, got i.txt" in refused(*words, "--per-image", "i.txt")
    (tmp_path / "notes.csv").write_text("image,mine")
    assert "expected a free name" in refused(*words, "--per-image", tmp_path / "notes.csv")


def test_the_names_of_classes_are_said(data, tmp_path):
    words = ["--data", data, "--predictions", data / "SegmentationClass"]
    assert "class names from layout voc" in call(*words).stdout
    (data / "labelmap.txt").write_text("cat:128,128,0::\nElephant:64,0,0::\n")
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["class_names"], told["notes"]) == (
        "labelmap.txt",
        ["class names from labelmap.txt"],
    )
    assert list(told["classes"]) == ["background", "cat", "Elephant"]


def test_bad_options_are_refused_in_one_line_and_nothing_is_written(data, tmp_path):
    words = ["--data", data, "--predictions", data / "SegmentationClass"]
    assert "either predictions or a checkpoint" in refused("--data", data)
    assert "either predictions or a checkpoint" in refused(*words, "--checkpoint", "x/y")
    nowhere = tmp_path / "nowhere"
    assert "expected a folder of images beside one of masks" in refused(
        *words[2:], "--images", data
    )
    assert "got both or neither" in refused(*words[2:])
    named = ["--images", data / "JPEGImages", "--masks", data / "SegmentationClass"]
    assert "got both or neither" in refused(*words, *named)
    assert "no layout beside images and masks" in refused(*words[2:], *named, "--layout", "voc")
    assert "which is not there" in refused("--data", data, "--predictions", nowhere)
    assert "folder of predictions" in refused("--data", data, "--predictions", __file__)
    assert "folder of labelled images" in refused("--data", __file__, "--predictions", data)
    assert "a report named *.json, got r.txt" in refused(*words, "-o", "r.txt")
    assert "a plot named *.svg or *.png, got r.jpg" in refused(*words, "--plot", "r.jpg")
    assert "values to ignore in 0..255, got 256" in refused(*words, "--ignore-value", 256)
    assert "workers of 1 or more, got 0" in refused(*words, "--workers", 0)
    assert "expected a split of" in refused(*words, "--split", "nope")
    (tmp_path / "notes.json").write_text("mine")
    assert "expected a free name" in refused(*words, "-o", tmp_path / "notes.json")
    assert (tmp_path / "notes.json").read_text() == "mine"


def test_a_wrong_mask_leaves_no_report(data, tmp_path):
    folders.write_mask(data / "SegmentationClass" / "2007_000001.png", np.zeros((4, 4)))
    out = tmp_path / "report.json"
    words = ["--data", data, "--predictions", data / "SegmentationClass", "-o", out]
    assert "expected a mask of 5x8 pixels" in refused(*words)
    assert not out.exists()


def test_the_code_on_evaluation_runs(tmp_path, monkeypatch):
    page = Path(__file__).parent.parent / "docs" / "evaluate.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    folders.voc(tmp_path / "VOC2012", filled(8), filled(3))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["one"].image.shape == (5, 8, 3)
    assert set(np.unique(names["one"].class_map)) == {2, 255}


def test_the_vocabularies_know_the_classes_of_the_data(tmp_path):
    for vocabulary, values in (
        ("voc", known_values("voc")),
        ("cityscapes", known_values("cityscapes")),
    ):
        classes = read_classes(vocabulary)
        names = values.names or {}
        found = {classes.ids[classes.find(name) or ""]: name for name in names.values()}
        assert found == names  # by the same ids
    streets = folders.cityscapes(tmp_path, filled(11), filled(12), kind="labelTrainIds")
    folders.write_mask(tmp_path / "mine" / "aachen_000000_000019.png", filled(25))
    folders.write_mask(tmp_path / "mine" / "ulm_000000_000019.png", filled(0))
    words = ["--data", streets, "--predictions", tmp_path / "mine", "--vocabulary", "cityscapes"]
    result = call(*words)
    assert result.exit_code == 0, result.output
    (group,) = [line for line in result.stdout.splitlines() if line.startswith("group human")]
    assert group.split()[-1] == "50.0"  # person taken for rider, and rider for nothing
