"""The export to Cityscapes: names, ids and instances; readers/ asks its own tools."""

import json

import numpy as np
import pytest
from formats_data import class_maps, dataset, export, values_of

from diffumask.errors import InputError
from diffumask.formats.cityscapes import match_classes
from diffumask.labelled.class_tables import known_values
from diffumask.labelled.folder import open_labelled
from diffumask.prompts.vocabulary import load_vocabulary, vocabulary_names
from diffumask.types import name_key


def truth(out, kind, mode, name="Bird_000000", split="train"):
    stem = f"diffumask_{name}_gtFine"
    return values_of(out / "gtFine" / split / "diffumask" / f"{stem}_{kind}.png", mode)


def test_cityscapes_is_read_as_cityscapes(tmp_path):
    classes = {"Car": 3, "building": 8, "traffic-light": 254}
    to_city = {0: 255, 255: 255, 3: 26, 8: 11, 254: 19}
    data = dataset(tmp_path / "data", class_maps(6), classes)
    out = export(data, tmp_path / "out", "cityscapes", share=0.5)
    for split in ("train", "val"):
        for one in open_labelled(out, "auto", split):
            name = one.name.removeprefix("diffumask_")
            wanted = np.vectorize(to_city.__getitem__)(class_maps(6)[name])
            assert np.array_equal(one.class_map, wanted)
            table = {255: 255, 26: 13, 11: 2, 19: 6}
            trained = truth(out, "labelTrainIds", "L", name, split)
            assert np.array_equal(trained, np.vectorize(table.__getitem__)(wanted))
            assert 255 not in truth(out, "labelIds", "L", name, split)


def test_a_class_that_cityscapes_does_not_know_is_refused_where_it_is_shown(tmp_path):
    labels = class_maps(2)["Bird_000001"]
    data = dataset(tmp_path / "data", {"Bird_000000": labels}, {"car": 3, "cat": 8, "dog": 9})
    with pytest.raises(InputError, match="got cat in Bird_000000; choose another format"):
        export(data, tmp_path / "out", "cityscapes")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    shown = {"Bird_000000": np.where(labels == 8, 3, labels)}
    unused = dataset(tmp_path / "unused", shown, {"car": 3, "cat": 8, "dog": 9})
    out = export(unused, tmp_path / "out", "cityscapes", share=1.0)
    assert set(np.unique(truth(out, "labelIds", "L"))) == {0, 26}


def test_classes_of_our_vocabularies_go_by_every_name_of_cityscapes():
    official = {name_key(name): name for name in (known_values("cityscapes").names or {}).values()}
    for vocabulary in map(load_vocabulary, vocabulary_names()):
        for entry in vocabulary.classes:
            names = {
                official[name_key(name)] for name in entry.known_as if name_key(name) in official
            }
            found = match_classes({entry.name: 1})
            assert {label.name for label in found.values()} >= names, entry.name
    assert {one.name for one in match_classes({"motorbike": 1, "pavement": 2}).values()} == {
        "motorcycle",
        "sidewalk",
    }


def test_objects_of_cityscapes_have_numbers_and_its_surfaces_have_none(tmp_path):
    labels = np.zeros((6, 12), np.uint8)
    labels[0:2, 0:2] = labels[4:6, 0:5] = 1
    labels[0:2, 6:8] = labels[4:6, 8:10] = 2
    data = dataset(tmp_path / "data", {"Bird_000000": labels}, {"car": 1, "wall": 2})
    apart = export(data, tmp_path / "apart", "cityscapes", share=1.0, instances=True)
    ids = truth(apart, "instanceIds", "I;16")
    assert (ids[5, 0], ids[0, 0]) == (26_000, 26_001)  # the largest first
    assert set(ids[labels == 2]) == {12}
    assert not ids[labels == 0].any()
    together = export(data, tmp_path / "together", "cityscapes", share=1.0)
    assert set(np.unique(truth(together, "instanceIds", "I;16"))) == {0, 12, 26_000}
    colours = truth(together, "color", "RGBA")
    assert {tuple(map(int, colour)) for colour in colours[labels == 1]} == {(0, 0, 142, 255)}


def test_objects_beyond_a_thousand_are_a_group(tmp_path):
    labels = np.zeros((80, 80), np.uint8)
    labels[::2, ::2] = 1  # 1,600 pixels apart
    data = dataset(tmp_path / "data", {"Bird_000000": labels}, {"car": 1})
    out = export(data, tmp_path / "out", "cityscapes", share=1.0, instances=True)
    ids, counts = np.unique(truth(out, "instanceIds", "I;16"), return_counts=True)
    assert ids.tolist() == [0, 26, *range(26_000, 27_000)]
    assert counts[1] == 600
    (path,) = out.rglob("*_polygons.json")
    names = [one["label"] for one in json.loads(path.read_bytes())["objects"]]
    assert (names.count("car"), names.count("cargroup")) == (1_000, 600)
