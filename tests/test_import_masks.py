"""Masks that people corrected: there and back by each tool's files, and files that are wrong."""

import contextlib
import io
import json
import re
import zipfile

import numpy as np
import pytest
from commands import done, refused
from formats_data import CLASSES, class_maps, dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from labelled_folders import files, write_mask
from PIL import Image as PillowImage

from diffumask.dataset.annotate import annotate
from diffumask.dataset.dataset import Dataset
from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.formats.archive import justified_bytes, open_archive
from diffumask.formats.brush import encode_mask
from diffumask.formats.corrected import Originals
from diffumask.formats.folder import new_folder
from diffumask.formats.items import select
from diffumask.formats.registry import FORMATS, reader
from diffumask.labelled.folder import open_labelled

NAME = "Bird_000001"
BOTH_ABSENT = {"absent": {"bird": "cool", "cat": "cool"}}
WHATEVER = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0, 3, 8, 254, 255]),
    fill=st.nothing(),
)
FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FEW = settings(max_examples=10, deadline=None, suppress_health_check=FIXTURES)


def read(name, path, data):
    """What an importer yields, by item."""
    with open_archive(path) as archive:
        originals = Originals(Dataset.open(data, with_dropped=True).require_items())
        found = list(reader(name)(archive, originals))
    assert len(found) == len(dict(found))
    return dict(found)


@pytest.fixture
def data(tmp_path):
    return dataset(tmp_path / "data", class_maps(4), dropped=["Bird_000003"])


def edited(data, tmp_path, name="png"):
    """A folder with one mask that was painted anew."""
    labels = np.full((6, 9), 8, np.uint8)
    write_mask(tmp_path / "mine" / f"{NAME}.png", labels)
    return tmp_path / "mine", labels


# there and back


@FEW
@given(WHATEVER, st.sampled_from(["cvat", "label-studio", "coco", "png"]), st.booleans())
def test_an_export_comes_back_as_it_was(tmp_path_factory, labels, name, instances):
    folder = tmp_path_factory.mktemp("round")
    data = dataset(folder / "data", {NAME: labels} | {"Bird_000000": class_maps(1)["Bird_000000"]})
    with new_folder(folder / "out") as out:
        FORMATS[name].write(select(data, 0.9), out, instances)
    if name == "label-studio":
        accept(folder / "out" / "tasks.json")
    archive = {"cvat": "annotations.zip", "label-studio": "tasks.json"}.get(name, "")
    back = read(name, folder / "out" / archive, data)
    assert np.array_equal(back[NAME], labels)
    assert not back["Bird_000000"].any()


def accept(tasks):
    """Turn predictions to annotations, as Label Studio does when one accepts them."""
    content = json.loads(tasks.read_bytes())
    for task in content:
        task["annotations"] = task.pop("predictions")
    tasks.write_text(json.dumps(content))


def test_the_new_dataset_has_the_old_records_and_the_new_masks(data, tmp_path):
    masks, labels = edited(data, tmp_path)
    before = files(data)
    line = done("import", masks, "--format", "png", "--data", data, "-o", tmp_path / "out")
    assert line.startswith("4 items in ")
    assert ", 1 with corrected masks; " in line
    assert {path: content for path, content in files(data).items() if path in before} == before
    old = {one.name: one for one in read_records(data)}
    new = {one.name: one for one in read_records(tmp_path / "out")}
    assert old.keys() == new.keys()
    changed = new.pop(NAME)
    assert changed.fields["mask_source"] == "corrected"
    assert changed.fields["foreground"] == 1
    assert {
        key: changed.fields[key] for key in ("prompt", "seed", "scores", "index", "verdict")
    } == {key: old[NAME].fields[key] for key in ("prompt", "seed", "scores", "index", "verdict")}
    assert new == {name: one for name, one in old.items() if name != NAME}
    assert np.array_equal(read_example(tmp_path / "out", changed).class_map, labels)
    assert read_run(tmp_path / "out").classes == CLASSES
    assert len(open_labelled(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("drawn", "fields"), [([8], {"absent": {"bird": "cool"}}), ([3, 8], {}), ([0], BOTH_ABSENT)]
)
def test_a_class_that_was_drawn_by_hand_is_no_longer_absent(data, tmp_path, drawn, fields):
    annotate(data, {NAME: BOTH_ABSENT})
    write_mask(tmp_path / "mine" / f"{NAME}.png", np.resize(drawn, (6, 9)).astype(np.uint8))
    done("import", tmp_path / "mine", "--format", "png", "--data", data, "-o", tmp_path / "out")
    (corrected,) = [one for one in read_records(tmp_path / "out") if one.name == NAME]
    assert fields == {key: value for key, value in corrected.fields.items() if key == "absent"}


# CVAT


def cvat_zip(path, masks, labelmap, listed=()):
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("labelmap.txt", labelmap)
        packed.writestr("ImageSets/Segmentation/default.txt", "\n".join(listed) + "\n")
        for name, painted in masks.items():
            packed.writestr(f"SegmentationClass/{name}.png", png_of(painted))
    return path


def png_of(pixels):
    encoded = io.BytesIO()
    PillowImage.fromarray(np.asarray(pixels, np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


def test_cvat_finds_every_colour_declared(data, tmp_path):
    done("export", data, "--format", "cvat", "-o", tmp_path / "out", "--instances")
    labels = json.loads((tmp_path / "out" / "labels.json").read_bytes())
    assert labels[0] == {"name": "bird", "color": "#808000", "attributes": []}
    assert [one["name"] for one in labels] == ["bird", "cat", "Eiffel Tower", "ignore"]
    with zipfile.ZipFile(tmp_path / "out" / "annotations.zip") as packed:
        lines = packed.read("labelmap.txt").decode().splitlines()
        declared = [line.split(":")[1] for line in lines[1:]]
        for name in packed.namelist():
            if name.startswith("SegmentationClass/"):
                painted = np.array(PillowImage.open(io.BytesIO(packed.read(name))))
                colours = {",".join(map(str, one)) for one in painted.reshape(-1, 3)}
                assert colours <= set(declared)
            elif name.startswith("SegmentationObject/"):
                painted = np.array(PillowImage.open(io.BytesIO(packed.read(name))))
                assert {tuple(one) for one in painted.reshape(-1, 3)} <= {
                    tuple(voc_palette()[i]) for i in (0, 1, 2, 255)
                }


def test_cvat_may_colour_as_it_likes_and_leave_out_what_is_empty(data, tmp_path):
    labelmap = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nBird:9,8,7::\ndog:1,1,1::\n"
    painted = np.zeros((6, 9, 3), np.uint8)
    painted[2, 3:7] = 9, 8, 7
    path = cvat_zip(tmp_path / "cvat.zip", {f"sub/{NAME}": painted}, labelmap, ["Bird_000002"])
    back = read("cvat", path, data)
    assert np.array_equal(back[NAME], painted[..., 0] // 9 * 3)
    assert not back["Bird_000002"].any()
    painted[0, 0] = 1, 1, 1
    wrong = cvat_zip(tmp_path / "dog.zip", {NAME: painted}, labelmap)
    with pytest.raises(InputError, match="got the label 'dog'; mend it"):
        read("cvat", wrong, data)
    painted[0, 0] = 5, 6, 7
    wrong = cvat_zip(tmp_path / "colour.zip", {NAME: painted}, labelmap)
    with pytest.raises(InputError, match="got the colour 5,6,7; mend it"):
        read("cvat", wrong, data)


@pytest.mark.parametrize("labelmap", ["bird", "bird:1,2", "bird:1,2,300::", "bird:a,b,c::"])
def test_labelmaps_of_another_form_are_refused(data, tmp_path, labelmap):
    with pytest.raises(InputError, match=r"lines as 'bird:128,128,0::'"):
        read("cvat", cvat_zip(tmp_path / "cvat.zip", {}, labelmap), data)


# Label Studio


def region(mask, label, kind="brushlabels", **more):
    height, width = mask.shape
    value = {"format": "rle", "rle": encode_mask(mask), kind: [label]}
    size = {"original_width": width, "original_height": height}
    return {"type": kind, "from_name": "tag", "to_name": "image", **size, "value": value, **more}


def tasks_file(path, *annotations, **task):
    data = {"image": f"/data/upload/3/1a2b3c4d-{NAME}.png"}
    path.write_text(json.dumps([{"id": 1, "data": data, "annotations": annotations} | task]))
    return path


def test_label_studio_counts_the_latest_annotation_and_the_last_region(data, tmp_path):
    left, right = np.zeros((2, 6, 9), bool)
    left[:, :6] = right[:, 4:] = True
    old = {"result": [region(left, "cat")], "updated_at": "2026-01-01T00:00:00Z"}
    new = {
        "result": [region(left, "bird"), region(right, "ignore"), {"type": "choices", "value": {}}],
        "updated_at": "2026-01-02T00:00:00Z",
    }
    cancelled = {"result": [], "updated_at": "2026-01-03T00:00:00Z", "was_cancelled": True}
    path = tasks_file(tmp_path / "export.json", new, old, cancelled)
    assert np.array_equal(read("label-studio", path, data)[NAME], np.where(right, 255, 3))
    zipped = packed(tmp_path / "export.zip", **{"export.json": path.read_bytes()})
    assert list(read("label-studio", zipped, data)) == [NAME]
    path = tasks_file(tmp_path / "none.json")
    line = refused("import", path, "--format", "label-studio", "--data", data, "-o", tmp_path / "o")
    assert "masks of at least one item, got none" in line


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"result": [region(np.ones((6, 9), bool), "dog")]}, "got 'dog'; rename it"),
        ({"result": [region(np.ones((9, 6), bool), "bird")]}, "at 6x9 pixels"),
        ({"result": [region(np.ones((6, 9), bool), "bird", value={})]}, "paint them instead"),
        ({"result": {"a": 1}}, "something else"),
        ({}, "something else"),
        ("text", "something else"),
    ],
)
def test_label_studio_of_another_form_is_refused(data, tmp_path, annotation, message):
    path = tasks_file(tmp_path / "export.json", annotation)
    with pytest.raises(InputError, match=message):
        read("label-studio", path, data)


# COCO


def coco_file(path, *shapes, categories=({"id": 5, "name": "cat"}, {"id": 2, "name": "bird"})):
    annotations = [
        {"id": i, "image_id": 7, "category_id": 5 - 3 * i, "segmentation": shape, "iscrowd": 0}
        for i, shape in enumerate(shapes)
    ]
    images = [{"id": 7, "file_name": f"images/{NAME}.png", "width": 9, "height": 6}]
    content = {"images": images, "annotations": annotations, "categories": list(categories)}
    path.write_text(json.dumps(content))
    return path


def test_coco_of_any_shape_is_read(data, tmp_path):
    polygon = [[2, 1, 6, 1, 6, 3, 2, 3]]
    counts = {"size": [6, 9], "counts": [0, 6, 48]}
    wanted = np.zeros((6, 9), np.uint8)
    wanted[5] = 255  # as it was
    wanted[1:3, 2:6] = 8
    wanted[:, 0] = 3
    path = coco_file(tmp_path / "coco.json", polygon, counts)
    assert np.array_equal(read("coco", path, data)[NAME], wanted)


@pytest.mark.parametrize(
    "shape",
    [
        {"size": [9, 6], "counts": [0, 54]},
        {"size": [6, 9], "counts": [0, 55]},
        {"size": [6, 9], "counts": "1000000"},
        {"size": [6, 9], "counts": "\x00\x01"},
        {"size": [6, 9], "counts": "o" * 100},
        {"size": [6, 9], "counts": {"a": 1}},
        {"size": [6, 9], "counts": [0, 2**70]},
        {"size": 6},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, 1e400]],
        [["a"] * 6],
        [[]],
        [3],
        3,
    ],
)
def test_broken_shapes_are_refused(data, tmp_path, shape):
    with pytest.raises(InputError):
        read("coco", coco_file(tmp_path / "coco.json", shape), data)


def test_polygons_far_outside_end_at_the_edge(data, tmp_path):
    path = coco_file(tmp_path / "coco.json", [[-1e12, -5, 1e12, -5, 1e12, 1e12, -1e12, 1e12]])
    assert (read("coco", path, data)[NAME] == 8).all()


@settings(FEW, max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["images", "annotations", "categories", "id", "file_name", "data", "result"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["coco", "label-studio"]),
)
def test_whatever_json_is_refused_or_has_no_mask(data, content, name):
    path = data.parent / "any.json"
    path.write_text(json.dumps(content))
    found = {}
    with contextlib.suppress(InputError):
        found = read(name, path, data)
    assert found == {}


# archives


def packed(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../up.png", "a/../../up.png", "/abs.png", "..\\up.png", "C:\\up.png"]
)
def test_names_that_leave_the_folder_are_refused(data, tmp_path, name):
    path = packed(tmp_path / "bad.zip", **{name: png_of(np.zeros((6, 9)))})
    with pytest.raises(InputError, match="expected names inside of"):
        read("png", path, data)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bad.zip", "data"]


def test_bombs_are_not_unpacked(data, tmp_path, monkeypatch):
    monkeypatch.setattr("diffumask.formats.archive.MAX_PNG_BYTES", 10_000)
    path = packed(tmp_path / "zip.zip", **{f"{NAME}.png": b"\0" * 10_001})
    with pytest.raises(InputError, match=r"of at most 10000 bytes, got more"):
        read("png", path, data)
    small = png_of(np.zeros((1, 1)))
    huge = small[:16] + (60_000).to_bytes(4, "big") * 2 + small[24:]
    with pytest.raises(InputError):
        read("png", packed(tmp_path / "png.zip", **{f"{NAME}.png": huge}), data)


def test_damaged_and_locked_archives_are_refused(data, tmp_path):
    path = packed(tmp_path / "torn.zip", **{f"{NAME}.png": png_of(np.zeros((6, 9)))})
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-30])
    with pytest.raises(InputError, match="expected a folder, zip, JSON or XML file"):
        read("png", path, data)
    content[60] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected a whole Bird_000001"):
        read("png", path, data)
    with pytest.raises(InputError, match="folder, zip, JSON or XML"):
        read("png", tmp_path / "nothing.zip", data)


def test_what_a_mac_leaves_in_an_archive_does_not_count(data, tmp_path):
    members = {"__MACOSX/._x.png": b"", f"masks/._{NAME}.png": b"", "masks/.DS_Store": b""}
    mask = {f"masks/{NAME}.png": png_of(np.full((6, 9), 3)), "images/Bird_000001.png": b"colours"}
    back = read("png", packed(tmp_path / "mac.zip", **members, **mask), data)
    assert list(back) == [NAME]


# the commands


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.full((6, 9), 4),
            r"labels 0, 3, 8, 254, 255 in the mask of Bird_000001, got 4",
        ),
        (np.full((9, 6), 3), r"of 6x9 pixels .* got 9x6 of mode L"),
        (np.zeros((6, 9, 3)), r"mode P or L or 1, got 6x9 of mode RGB"),
    ],
)
def test_masks_that_do_not_fit_leave_no_folder(data, tmp_path, pixels, message):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{NAME}.png").write_bytes(png_of(pixels))
    out = tmp_path / "out"
    line = refused("import", folder, "--format", "png", "--data", data, "-o", out)
    assert re.search(message, line)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "mine"]


def test_two_masks_of_an_item_and_masks_of_others_are_refused(data, tmp_path):
    masks, labels = edited(data, tmp_path)
    write_mask(masks / "more" / f"{NAME}.png", labels)
    words = ("--format", "png", "--data", data, "-o", tmp_path / "out")
    assert "one mask for each item, got two for Bird_000001" in refused("import", masks, *words)
    write_mask(masks / "more" / f"{NAME}.png", labels)
    (masks / "more" / f"{NAME}.png").rename(masks / "task-1-annotation-2-by-1-tag-bird-0.png")
    line = refused("import", masks, *words)
    assert "named after items of" in line
    assert "such as Bird_000000" in line


def test_bad_options_change_nothing(data, tmp_path):
    out = tmp_path / "out"
    masks, _ = edited(data, tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    before = files(tmp_path)
    known = "yolo, yolo-detect, cityscapes, hf, webdataset, png, cvat, label-studio, got 'tfds'"
    assert known in refused("export", data, "--format", "tfds", "-o", out)
    assert "got 1.5" in refused("export", data, "--format", "voc", "-o", out, "--split", "1.5")
    assert "got nan" in refused("export", data, "--format", "voc", "-o", out, "--split", "nan")
    assert "expected instances with" in refused(
        "export", data, "--format", "png", "-o", out, "--instances"
    )
    assert "no options of splits" in refused(
        "export", data, "--format", "cvat", "-o", out, "--split", "0.5"
    )
    assert "outside of" in refused("export", data, "--format", "png", "-o", data / "exported")
    assert "with 'mine.txt' in it" in refused(
        "export", data, "--format", "png", "-o", tmp_path / "taken"
    )
    assert "run.json" in refused("export", tmp_path / "taken", "--format", "png", "-o", out)
    words = ("--data", data, "-o", out)
    assert "coco, png, cvat, label-studio, got 'voc'" in refused(
        "import", masks, "--format", "voc", *words
    )
    assert "export the task as" in refused("import", masks, "--format", "cvat", *words)
    assert "one .json" in refused("import", masks, "--format", "label-studio", *words)
    assert "outside of" in refused("import", masks, "--format", "png", "--data", data, "-o", data)
    assert files(tmp_path) == before


def test_export_says_how_many_items_each_split_has(data, tmp_path):
    line = done("export", data, "--format", "png", "-o", tmp_path / "out", "--split", "1")
    assert line == (
        f"3 train and 0 val items in {tmp_path / 'out'}\nleft out of {data}: 1 dropped by filter\n"
    )
    line = done("export", data, "--format", "cvat", "-o", tmp_path / "all", "--all")
    assert line == f"4 items in {tmp_path / 'all'}\n"


@pytest.mark.parametrize("name", ["coco", "label-studio"])
def test_text_larger_than_the_items_justify_is_not_read(data, tmp_path, name):
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("x.json", "[" + "0," * (3 * 2**20) + "0]")
    line = refused("import", packed, "--format", name, "--data", data, "-o", tmp_path / "o")
    assert "expected x.json of at most" in line
    assert not (tmp_path / "o").exists()


def test_a_thousand_large_items_justify_much_text():
    assert justified_bytes(1000, (512, 512)) > 500_000_000
    assert justified_bytes(10**6, (1024, 1024)) == 2**30
    assert justified_bytes(3, (64, 64)) < 5 * 2**20
