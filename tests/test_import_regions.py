"""Regions of tools: what has no mask, what was 255, other sizes, CVAT's XML, JSON-MIN, polygons."""

import json

import numpy as np
import pytest
from commands import done, refused
from formats_data import class_maps, dataset
from labelled_folders import write_mask

from diffumask.dataset.dataset import Dataset
from diffumask.errors import InputError
from diffumask.formats.archive import open_archive
from diffumask.formats.brush import encode_mask
from diffumask.formats.corrected import Originals
from diffumask.formats.registry import reader

NAME, OTHER = "Bird_000001", "Bird_000002"
SIZE_HW = (6, 9)
CATEGORIES = [{"id": 5, "name": "cat"}, {"id": 2, "name": "bird"}]
SQUARE = [2, 1, 6, 1, 6, 3, 2, 3]


@pytest.fixture
def data(tmp_path):
    return dataset(tmp_path / "data", class_maps(4))


def read(name, path, data):
    """What an importer yields, by item, and what it left out and kept."""
    with open_archive(path) as archive:
        originals = Originals(Dataset.open(data, with_dropped=True).require_items())
        return dict(reader(name)(archive, originals)), originals


def imported(name, path, data, out):
    words = ["import", path, "--format", name, "--data", data, "-o", out, "--json"]
    return json.loads(done(*words))


def square():
    """The pixels of SQUARE."""
    mask = np.zeros(SIZE_HW, bool)
    mask[1:3, 2:6] = True
    return mask


def original(name):
    return class_maps(4)[name]


# COCO


def coco(path, shapes, size_hw=SIZE_HW, categories=CATEGORIES, file_name="{}.png"):
    """A file with the given annotations, the segmentation of which may be missing, by item."""
    images, annotations = [], []
    for i, (name, of_item) in enumerate(shapes.items()):
        height, width = size_hw
        named = {"id": i, "file_name": file_name.format(name)}
        images.append({**named, "height": height, "width": width})
        annotations += [{"image_id": i, "category_id": 5, **shape} for shape in of_item]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


NO_MASKS = [{"segmentation": []}, {"segmentation": None}, {"bbox": [1, 1, 2, 2]}]


@pytest.mark.parametrize("box", NO_MASKS)
def test_an_annotation_without_a_mask_leaves_the_mask_as_it_was_and_is_said(data, tmp_path, box):
    path = coco(
        tmp_path / "coco.json", {NAME: [box, box], OTHER: [{"segmentation": [SQUARE]}, box]}
    )
    told = imported("coco", path, data, tmp_path / "out")
    assert (told["corrected"], told["left_out"], told["kept"]) == (1, {"boxes": 3}, [NAME])
    there, _ = read("coco", path, data)
    assert list(there) == [OTHER]
    path = coco(tmp_path / "coco.json", {NAME: [box]})
    words = ["import", path, "--format", "coco", "--data", data, "-o", tmp_path / "none"]
    assert "masks of at least one item, got 1 boxes" in refused(*words)
    assert not (tmp_path / "none").exists()


def test_coco_of_another_size_is_refused(data, tmp_path):
    path = coco(tmp_path / "coco.json", {NAME: [{"segmentation": [SQUARE]}]}, (12, 18))
    with pytest.raises(
        InputError, match=r"Bird_000001 at 6x9 pixels .*, got 12x18; export it with"
    ):
        read("coco", path, data)


def test_what_was_255_stays_unless_the_tool_has_a_label_for_it(data, tmp_path):
    shapes = {NAME: [{"segmentation": [[0, 4, 3, 4, 3, 6, 0, 6]]}], OTHER: []}
    wanted = np.where(original(NAME) == 255, 255, 0)
    wanted[4:, :3] = 8
    there, _ = read("coco", coco(tmp_path / "a.json", shapes), data)
    assert np.array_equal(there[NAME], wanted)
    assert np.array_equal(there[OTHER] == 255, original(OTHER) == 255)
    known = [*CATEGORIES, {"id": 9, "name": "ignore"}]
    there, _ = read("coco", coco(tmp_path / "b.json", shapes, categories=known), data)
    assert np.array_equal(there[NAME], np.where(wanted == 255, 0, wanted))


def test_annotations_of_no_image_are_refused(data, tmp_path):
    path = coco(tmp_path / "a.json", {NAME: [{"segmentation": [SQUARE], "image_id": 7}]})
    with pytest.raises(InputError, match=r"annotations of the images in a.json, got one of 7"):
        read("coco", path, data)


def test_names_with_the_suffix_of_roboflow_are_those_of_items(data, tmp_path):
    for name in ("{}_png.rf.0a1B2c3d.jpg", "{}_jpg.rf.0a1b.jpg", "1a2b-{}_png.rf.0a1b.jpg"):
        path = coco(tmp_path / "a.json", {NAME: [{"segmentation": [SQUARE]}]}, file_name=name)
        assert list(read("coco", path, data)[0]) == [NAME]


def test_coco_that_is_none_names_the_export_to_choose(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r'"COCO 1.0" in CVAT, "COCO" in Label Studio'):
        read("coco", tmp_path / "empty", data)
    for content in ([], {"images": []}, {"categories": [{"id": "1", "name": "a"}]}):
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="export COCO with masks or polygons"):
            read("coco", tmp_path / "a.json", data)


# Label Studio


def region(label=None, kind="brush", **value):
    size = {"original_width": 9, "original_height": 6}
    labelled = {f"{kind}labels": [label]} if label else {}
    labels = "labels" if label else ""
    return {"type": f"{kind}{labels}", **size, "value": {**value, **labelled}}


def brush(mask, label=None):
    return region(label, format="rle", rle=encode_mask(mask))


def tasks(path, *results, name=NAME):
    annotations = [{"result": result, "updated_at": f"{i}"} for i, result in enumerate(results)]
    task = {"data": {"image": f"/data/upload/1/1a2b3c4d-{name}.png"}, "annotations": annotations}
    path.write_text(json.dumps([task]))
    return path


def as_min(path, json_path):
    """Write the annotations of an export as JSON in the way of JSON-MIN."""
    lines = []
    for i, task in enumerate(json.loads(json_path.read_bytes())):
        for number, one in enumerate(task["annotations"]):
            sizes = ("original_width", "original_height")
            values = [{**r["value"], **{key: r[key] for key in sizes}} for r in one["result"]]
            line = {**task["data"], "id": i, "tag": values, "annotator": 1}
            lines.append({**line, "annotation_id": number, "updated_at": one["updated_at"]})
    path.write_text(json.dumps(lines))
    return path


PERCENT = [[x / 9 * 100, y / 6 * 100] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]


def test_json_and_json_min_with_polygons_and_brushes_are_the_same(data, tmp_path):
    left = np.zeros(SIZE_HW, bool)
    left[:, :4] = True
    polygon = region("cat", "polygon", points=PERCENT, closed=True)
    path = tasks(tmp_path / "a.json", [brush(left, "cat")], [brush(left, "bird"), polygon])
    wanted = np.where(square(), 8, np.where(left, 3, 0))
    for one in (path, as_min(tmp_path / "min.json", path)):
        assert np.array_equal(read("label-studio", one, data)[0][NAME], wanted)
    (tmp_path / "none.json").write_text(json.dumps([{"image": NAME, "annotation_id": None}]))
    assert read("label-studio", tmp_path / "none.json", data)[0] == {}


@pytest.mark.parametrize("unlabelled", [brush(~square()), region(kind="polygon", points=PERCENT)])
def test_a_region_without_a_label_is_refused(data, tmp_path, unlabelled):
    path = tasks(tmp_path / "a.json", [brush(square(), "bird"), unlabelled])
    for one in (path, as_min(tmp_path / "min.json", path)):
        with pytest.raises(InputError, match=f"one label for each region of {NAME}, got a region"):
            read("label-studio", one, data)


def test_a_label_may_lie_beside_the_region_in_a_value_of_its_own(data, tmp_path):
    named = {**brush(square()), "type": "labels"}
    named["value"] = {**named["value"], "labels": ["bird"]}
    chosen = {**brush(square()), "type": "choices"}
    chosen["value"] = {**chosen["value"], "choices": ["sharp"]}
    path = tasks(tmp_path / "a.json", [brush(square()), named, chosen])
    assert np.array_equal(read("label-studio", path, data)[0][NAME], np.where(square(), 3, 0))
    named["value"]["labels"] = ["bird", "cat"]
    path = tasks(tmp_path / "a.json", [brush(square()), named])
    with pytest.raises(InputError, match="got bird, cat; label it"):
        read("label-studio", path, data)


def test_boxes_of_label_studio_are_left_out_and_said(data, tmp_path):
    box = region("bird", "rectangle", x=1, y=1, width=5, height=5)
    point = region("bird", "keypoint", x=1, y=1)
    there, originals = read(
        "label-studio", tasks(tmp_path / "a.json", [box, brush(square(), "cat"), point]), data
    )
    assert np.array_equal(there[NAME], np.where(square(), 8, 0))
    assert originals.left_out == {"boxes": 1, "ellipses and points": 1}
    there, originals = read("label-studio", tasks(tmp_path / "a.json", [box]), data)
    assert (there, originals.kept) == ({}, [NAME])


def test_what_label_studio_draws_in_another_way_is_refused(data, tmp_path):
    bitmap = region("bird", "bitmask", imageDataURL="data:image/png;base64,AA==")
    with pytest.raises(InputError, match="expected regions of the brush or polygons on Bird_00"):
        read("label-studio", tasks(tmp_path / "a.json", [bitmap]), data)
    turned = {**brush(square(), "bird"), "image_rotation": 90}
    with pytest.raises(InputError, match="turned by 90 degrees"):
        read("label-studio", tasks(tmp_path / "a.json", [turned]), data)
    (tmp_path / "png").mkdir()
    with pytest.raises(InputError, match="export as JSON or JSON-MIN, as masks in PNG"):
        read("label-studio", tmp_path / "png", data)


# CVAT for images 1.1


def cvat(path, *images, labels=("bird", "cat"), before=""):
    names = "".join(f"<label><name>{one}</name><color>#ff0000</color></label>" for one in labels)
    meta = f"<meta><task><name>t</name><labels>{names}</labels></task></meta>"
    body = "".join(images)
    path.write_text(f'<?xml version="1.0"?>{before}<annotations>{meta}{body}</annotations>')
    return path


def image(*shapes, name=NAME, size_hw=SIZE_HW):
    height, width = size_hw
    return (
        f'<image id="0" name="sub/{name}.png" width="{width}" height="{height}">'
        f"{''.join(shapes)}</image>"
    )


POLYGON = '<polygon label="bird" points="2.00,1.00;6.00,1.00;6.00,3.00;2.00,3.00" z_order="1"/>'
# 3 x 4 pixels from (x 1, y 2): all but the first and the last
MASK = '<mask label="cat" rle="1, 10, 1" left="1" top="2" width="4" height="3" z_order="0"/>'
BOX = '<box label="bird" xtl="1.0" ytl="1.0" xbr="3.0" ybr="3.0" z_order="0"/>'


def painted():
    wanted = np.zeros(SIZE_HW, np.uint8)
    wanted[2:5, 1:5] = 8
    wanted[2, 1] = wanted[4, 4] = 0
    return wanted


def test_masks_and_polygons_of_cvat_lie_in_its_layers(data, tmp_path):
    shapes = image(POLYGON, MASK, '<tag label="bird"/>')
    there, originals = read("cvat", cvat(tmp_path / "annotations.xml", shapes), data)
    wanted = np.where(original(NAME) == 255, 255, painted())  # CVAT has no label for 255 here
    wanted[square()] = 3
    assert np.array_equal(there[NAME], wanted)
    assert (originals.left_out, originals.kept) == ({}, [])
    labels = ("bird", "cat", "ignore")
    there, _ = read("cvat", cvat(tmp_path / "a.xml", image(MASK), labels=labels), data)
    assert np.array_equal(there[NAME], painted())


def test_boxes_of_cvat_are_left_out_and_said(data, tmp_path):
    images = image(BOX, MASK), image(BOX, BOX, name=OTHER), image(name="Bird_000003")
    path = cvat(tmp_path / "annotations.xml", *images)
    told = imported("cvat", path, data, tmp_path / "out")
    assert told["left_out"] == {"boxes": 3}
    assert told["kept"] == [OTHER]
    assert (told["corrected"], told["emptied"]) == (2, ["Bird_000003"])
    assert not (read("cvat", path, data)[0]["Bird_000003"] % 255).any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((image(MASK, size_hw=(12, 18)),), "at 6x9 pixels .* got 12x18"),
        ((image(MASK.replace('top="2"', 'top="4"')),), "masks within 6x9 pixels"),
        ((image(MASK.replace('left="1"', 'left="-1"')),), "masks within 6x9 pixels"),
        ((image(MASK.replace("10", "9")),), "RLE of 12 pixels"),
        ((image(MASK.replace("10", "x")),), "export the task as"),
        ((image(MASK.replace("rle", "x")),), "export the task as"),
        ((image(POLYGON.replace("2.00,1.00;", "2.00;")),), "export the task as"),
        ((image(POLYGON.replace("bird", "dog")),), "got 'dog'; rename it"),
        ((image(name="Dog_000001"),), "named after items of"),
        (('<track id="0"></track>',), '"CVAT for images 1.1" .* got a video'),
        (("<image>",), "export the task as"),
    ],
)
def test_broken_xml_of_cvat_is_refused(data, tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read("cvat", cvat(tmp_path / "annotations.xml", *content), data)


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE a [<!ENTITY b "bird">]>',
        '<!DOCTYPE a [<!ENTITY a0 "ab">'
        + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
        + "]>",
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    ],
)
def test_xml_that_declares_what_is_to_be_expanded_is_refused(data, tmp_path, declared):
    path = cvat(tmp_path / "annotations.xml", image(MASK), before=declared)
    with pytest.raises(InputError, match="DTDForbidden"):
        read("cvat", path, data)


# png


def test_ids_of_a_folder_of_masks_are_matched_by_the_names_beside_it(data, tmp_path):
    folder = tmp_path / "mine"
    write_mask(folder / "masks" / f"{NAME}.png", np.where(square(), 1, 255))
    (folder / "classes.json").write_text('{"cat": 1, "cow": 2}')
    there, _ = read("png", folder, data)
    assert np.array_equal(there[NAME], np.where(square(), 8, 255))
    write_mask(folder / "masks" / f"{NAME}.png", np.where(square(), 2, 0))
    with pytest.raises(InputError, match=r"as classes.json lists them, got 2; mend"):
        read("png", folder, data)
