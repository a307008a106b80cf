"""Counting and its figures against slow twins, on small class maps."""

import json
import xml.etree.ElementTree as ElementTree

import labelled_folders as folders
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_folders import filled

from diffumask.errors import InputError
from diffumask.evaluation.compare import compare_files, compare_network, find_predictions
from diffumask.evaluation.counts import count, no_counts
from diffumask.evaluation.figure import write_figure
from diffumask.evaluation.file import refuse_foreign, write_report
from diffumask.evaluation.report import looks_binary, make_report, table
from diffumask.labelled.folder import open_labelled
from diffumask.labelled.mapping import ClassSelection, MaskValues, make_mapping
from diffumask.metrics import boundary_f, boundary_tolerance_px
from diffumask.types import ClassIds

CLASSES = ClassIds({"bird": 3, "cat": 8})
IDS = (0, 3, 8)
pixels = st.lists(st.sampled_from([*IDS, 255]), min_size=28, max_size=28)
images = st.lists(st.tuples(pixels, pixels), min_size=1, max_size=3)


def as_map(values):
    return np.array(values, np.uint8).reshape(4, 7)


def report_of(pairs, selection=None):
    """Count pairs of (predicted, truth) and make the report."""
    mapping = make_mapping(MaskValues(), selection or ClassSelection(CLASSES))
    total = no_counts()
    for predicted, truth in pairs:
        total += count(np.array(predicted, np.uint8), np.array(truth, np.uint8), (3, 8))
    return make_report(total, mapping)


def slow_ious(pairs):
    """Go through the pixels of all images one by one."""
    both, either = dict.fromkeys(IDS, 0), dict.fromkeys(IDS, 0)
    for predicted, truth in pairs:
        for one, true in zip(predicted, truth, strict=True):
            if true == 255:
                continue
            for class_id in IDS:
                both[class_id] += one == true == class_id
                either[class_id] += class_id in (one, true)
    return [both[i] / either[i] if either[i] else None for i in IDS]


@settings(max_examples=60, deadline=None)
@given(images)
def test_the_figures_are_those_of_single_pixels(pairs):
    counted = [(a, b) for one, two in pairs for a, b in zip(one, two, strict=True) if b != 255]
    maps = [(as_map(one), as_map(two)) for one, two in pairs]
    if not counted:
        with pytest.raises(InputError, match="expected labelled pixels, got none but 255"):
            report_of(maps)
        return
    report = report_of(maps)
    ious = slow_ious(pairs)
    assert [one.iou for one in report.classes.values()] == pytest.approx(ious)
    known, objects = ([x for x in some if x is not None] for some in (ious, ious[1:]))
    assert report.miou == pytest.approx(sum(known) / len(known))
    if objects:
        assert report.miou_without_background == pytest.approx(sum(objects) / len(objects))
    assert report.pixel_accuracy == pytest.approx(np.mean([a == b for a, b in counted]))
    assert report.pixels == len(counted) == report.confusion.sum()


@settings(max_examples=60, deadline=None)
@given(images)
def test_the_boundary_f_is_that_of_whole_masks(pairs):
    maps = [(as_map(one), as_map(two)) for one, two in pairs]
    expected = {3: [], 8: []}
    for predicted, truth in maps:
        for class_id, of_class in expected.items():
            counted = truth != 255
            if ((predicted == class_id) & counted).any() or (truth == class_id).any():
                masks = predicted == class_id, truth == class_id
                of_class.append(boundary_f(*masks, boundary_tolerance_px((4, 7))))
    total = no_counts()
    for predicted, truth in maps:
        total += count(predicted, truth, (3, 8))
    for class_id, of_class in expected.items():
        assert total.boundary_images[class_id] == len(of_class)
        assert total.boundary_sums[class_id] == pytest.approx(sum(of_class))


def test_ignored_pixels_of_the_truth_do_not_count_and_undecided_predictions_are_wrong():
    report = report_of([([[3, 3, 255, 8]], [[3, 255, 3, 3]])])
    assert report.confusion.tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]
    bird, cat = report.classes["bird"], report.classes["cat"]
    assert (bird.iou, bird.recall, bird.precision) == pytest.approx((1 / 3, 1 / 3, 1.0))
    assert (cat.iou, cat.recall, cat.precision, cat.pixels) == (0.0, None, 0.0, 0)


def test_a_class_that_never_occurs_is_left_out_of_the_means():
    report = report_of([([[0, 3, 3]], [[0, 0, 3]])])
    assert report.classes["cat"].iou is None
    assert report.miou == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert report.miou_without_background == pytest.approx(1 / 2)
    (row,) = [line for line in table(report).splitlines() if line.startswith("cat")]
    assert row.split()[1:] == ["-", "-", "-", "-", "0.0"]


def test_ignored_background_is_neither_a_class_nor_counted():
    selection = ClassSelection(CLASSES, ignore_background=True)
    mapping = make_mapping(MaskValues(), selection)
    truth = mapping.truth[np.array([[0, 0, 3, 3]])].astype(np.uint8)
    report = report_of([([[3, 3, 3, 0]], truth)], selection)
    assert list(report.classes) == ["bird", "cat"]
    assert report.pixels == 2
    assert report.classes["bird"].iou == report.miou == pytest.approx(1 / 2)
    assert report.confusion.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_a_group_counts_as_one_class():
    classes = ClassIds({"bird": 3, "cat": 8, "cow": 9}, groups={"bird": "animal", "cat": "animal"})
    predicted, truth = [[0, 3, 3, 8, 9]], [[0, 8, 3, 8, 3]]
    report = report_of([(predicted, truth)], ClassSelection(classes))
    assert report.groups == {"animal": pytest.approx(3 / 4)}
    assert "group animal" in table(report)
    assert report_of([([[0]], [[0]])], ClassSelection(classes)).groups == {"animal": None}


def test_masks_in_black_and_white_are_told():
    report = report_of([([[0, 255, 255]], [[0, 255, 255]])])
    assert looks_binary(report) == ["truth"]
    assert looks_binary(report_of([([[0, 255, 255]], [[0, 3, 3]])])) == ["predictions"]
    assert looks_binary(report_of([([[0, 3, 3]], [[0, 255, 255]])])) == ["truth"]
    assert looks_binary(report_of([([[0, 3, 0]], [[0, 3, 3]])])) == []


def test_truth_against_itself_is_1_and_two_processes_count_as_one(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).choice([0, 3, 8, 255], (2, 9, 12)).astype(np.uint8)
    folders.plain(tmp_path / "data", *noise)
    data = open_labelled(tmp_path / "data", selection=ClassSelection(CLASSES))
    same = compare_files(data, find_predictions(tmp_path / "data", data), [].append)
    report = make_report(same, data.mapping)
    assert (report.miou, report.boundary_f, report.pixel_accuracy, report.images) == (1, 1, 1, 2)

    folders.plain(tmp_path / "moved", *np.roll(noise, 1, axis=2))
    monkeypatch.setattr("diffumask.evaluation.compare.CHUNK", 1)
    moved, done = find_predictions(tmp_path / "moved", data), []
    one, two = (compare_files(data, moved, done.append, workers) for workers in (1, 2))
    assert done == [1] * 4
    assert np.array_equal(one.confusion, two.confusion)
    assert np.array_equal(one.boundary_sums, two.boundary_sums)
    assert make_report(one, data.mapping).miou < 0.6
    called = compare_network(data, lambda image: np.full(image.shape[:2], 3, np.uint8), [].append)
    assert make_report(called, data.mapping).classes["bird"].recall == 1.0


def test_predictions_are_found_by_the_name_of_item_mask_or_image(tmp_path):
    folders.cityscapes(tmp_path / "data", filled(7), filled(26))
    data = open_labelled(tmp_path / "data")
    truth = find_predictions(tmp_path / "data" / "gtFine", data)
    assert truth == [pair.place for pair in data.pairs]
    flat = tmp_path / "flat"
    folders.write_mask(flat / "aachen_000000_000019.png", filled(7))
    folders.write_mask(flat / "ulm_000000_000019_leftImg8bit.png", filled(26))
    assert [path.parent for path in find_predictions(flat, data)] == [flat, flat]
    folders.write_mask(flat / "sub" / "aachen_000000_000019.png", filled(7))
    with pytest.raises(InputError, match=r"one prediction of a name, got .*aachen.* and .*sub"):
        find_predictions(flat, data)
    (flat / "sub" / "aachen_000000_000019.png").unlink()
    (flat / "ulm_000000_000019_leftImg8bit.png").unlink()
    with pytest.raises(InputError, match=r"2 predictions .*, got none for 1, such as 'ulm_0000"):
        find_predictions(flat, data)


def test_predictions_of_another_size_or_label_are_refused(tmp_path):
    folders.plain(tmp_path / "data", filled(3), filled(8))
    data = open_labelled(tmp_path / "data", selection=ClassSelection(CLASSES))
    folders.plain(tmp_path / "large", filled(3, (7, 9)), filled(8))
    with pytest.raises(InputError, match=r"mask of 5x8 pixels .*large/masks/a.png of 7x9"):
        compare_files(data, find_predictions(tmp_path / "large", data), [].append)
    folders.plain(tmp_path / "other", filled(3), filled(4))
    with pytest.raises(InputError, match=r"got 4 in .*other/masks/b.png"):
        compare_files(data, find_predictions(tmp_path / "other", data), [].append)


def test_report_and_figure_are_written_whole_and_never_over_other_files(tmp_path):
    report = report_of([([[0, 3, 3], [8, 8, 255]], [[0, 0, 3], [8, 3, 8]])])
    path, plot = tmp_path / "new" / "report.json", tmp_path / "figure.svg"
    for images in (1, 2):  # the second time in place of the first
        write_report(path, report, {"split": images})
        write_figure(plot, "bird & cat", report)
    raw = json.loads(path.read_text())
    assert raw["split"] == 2
    assert raw["miou"] == report.miou
    assert raw["classes"]["bird"]["iou"] == report.classes["bird"].iou
    assert raw["confusion"]["rows"] == ["background", "bird", "cat"]
    assert raw["confusion"]["columns"] == ["background", "bird", "cat", "other"]
    assert raw["confusion"]["pixels"] == report.confusion.tolist()
    assert sorted(one.name for one in path.parent.iterdir()) == ["report.json"]
    for content in (b"{}", b"[1]", b"my notes", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="expected a free name or a file of diffumask eval"):
            write_report(path, report, {})
        assert path.read_bytes() == content
    refuse_foreign(tmp_path / "nothing.json")
    plot.write_text("<svg>mine</svg>")
    with pytest.raises(InputError, match="expected a free name or a file of diffumask eval"):
        write_figure(plot, "bird & cat", report)


def texts_of(path):
    root = ElementTree.parse(path).getroot()
    return [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_figure_has_a_row_for_each_true_class_and_a_column_for_each_that_occurs(tmp_path):
    report = report_of([([[0, 3, 3, 255]], [[0, 0, 3, 0]])])
    write_figure(tmp_path / "figure.svg", "a <b>", report)
    texts = texts_of(tmp_path / "figure.svg")
    assert "a <b>" in texts
    assert [texts.count(name) for name in ("background", "bird", "other", "cat")] == [2, 2, 1, 0]
    assert texts.count("33") == 3  # a third each of background, bird and nothing
