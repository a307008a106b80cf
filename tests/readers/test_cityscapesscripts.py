"""The authors of Cityscapes evaluate an export and draw its polygons."""

import numpy as np
import pytest
from formats_data import values_of
from PIL import Image as PillowImage
from readers_data import CITY_CLASSES, exported, scenes

from diffumask.formats.cityscapes import match_classes
from diffumask.labelled.class_tables import known_values


def test_the_facts_on_cityscapes_are_those_of_its_authors(cityscapesscripts):
    ours = match_classes(
        {name: i for i, name in enumerate((known_values("cityscapes").names or {}).values(), 1)}
    )
    for label in ours.values():
        theirs = cityscapesscripts.labels.name2label[label.name]
        assert (theirs.id, theirs.trainId) == (label.label_id, label.train_id)
        assert (theirs.color, theirs.hasInstances) == (label.colour, label.has_instances)
    evaluated = [one.name for one in cityscapesscripts.labels.labels if 0 <= one.trainId < 255]
    assert evaluated == [label.name for label in ours.values()]


@pytest.mark.parametrize("instances", [False, True])
def test_the_official_evaluation_takes_an_export_for_perfect(
    tmp_path, cityscapesscripts, capsys, instances
):
    out = exported(tmp_path, "cityscapes", CITY_CLASSES, instances=instances, share=0.0)
    truth = out / "gtFine" / "val" / "diffumask"
    files = sorted(map(str, truth.glob("*_labelIds.png")))
    pixels = cityscapesscripts.pixels
    report = pixels.evaluateImgLists(files, files, pixels.args)
    found = {name: score for name, score in report["classScores"].items() if score == score}
    assert {name: found[name] for name in ("car", "building", "motorcycle")} == {
        "car": 1,
        "building": 1,
        "motorcycle": 1,
    }
    assert report["classInstScores"]["car"] == 1


def test_the_official_evaluation_finds_every_instance(tmp_path, cityscapesscripts, capsys):
    out = exported(tmp_path, "cityscapes", CITY_CLASSES, instances=True, share=0.0)
    truth = sorted((out / "gtFine" / "val" / "diffumask").glob("*_instanceIds.png"))
    predicted = []
    for path in truth:
        ids = values_of(path, "I;16")
        lines = []
        for value in np.unique(ids[ids >= 1000]):
            mask = tmp_path / f"{path.stem}_{value}.png"
            PillowImage.fromarray((ids == value).astype(np.uint8) * 255).save(mask)
            lines.append(f"{mask.name} {value // 1000} 1.0\n")
        predicted.append(tmp_path / f"{path.stem}.txt")
        predicted[-1].write_text("".join(lines))
    instances = cityscapesscripts.instances
    instances.args.predictionPath = str(tmp_path)
    instances.args.minRegionSizes[:] = 1  # ours are small
    report = instances.evaluateImgLists(
        list(map(str, predicted)), list(map(str, truth)), instances.args
    )
    for name in ("car", "motorcycle"):
        assert report["averages"]["classes"][name]["ap"] == pytest.approx(1)


def test_polygons_drawn_by_cityscapes_are_its_masks(tmp_path, cityscapesscripts):
    out = exported(tmp_path, "cityscapes", CITY_CLASSES, instances=True, share=0.0)
    polygons = sorted((out / "gtFine" / "val" / "diffumask").glob("*_polygons.json"))
    assert len(polygons) == len(scenes())
    for path in polygons:
        annotation = cityscapesscripts.annotation()
        annotation.fromJsonFile(str(path))
        stem = str(path).removesuffix("polygons.json")
        for draw, kind, mode in (
            (cityscapesscripts.to_labels, "labelIds", "L"),
            (cityscapesscripts.to_instances, "instanceIds", "I;16"),
        ):
            ours = values_of(f"{stem}{kind}.png", mode)
            assert np.array_equal(np.array(draw(annotation, "ids")), ours)


def test_cityscapes_makes_panoptic_files_of_an_export(tmp_path, cityscapesscripts, capsys):
    out = exported(tmp_path, "cityscapes", CITY_CLASSES, instances=True)
    cityscapesscripts.to_panoptic(str(out / "gtFine"), str(tmp_path), setNames=["train", "val"])
    assert (tmp_path / "cityscapes_panoptic_val.json").is_file()
