import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffumask.calibration.file import Thresholds, read_thresholds, write_thresholds
from diffumask.calibration.fit import (
    THRESHOLDS,
    ClassThreshold,
    Fit,
    calibrate,
    choose,
    fit,
    held_out_ious,
    iou_curve,
)
from diffumask.calibration.plot import write_curves
from diffumask.errors import InputError
from diffumask.metrics import iou

THREE = np.array([0.2, 0.4, 0.6])


def blob(rng, edge):
    """A round object on 12x20 pixels, and heat whose level at its outline is about `edge`."""
    y, x = np.mgrid[:12, :20]
    radius, top, left = rng.uniform(2, 5), rng.uniform(4, 8), rng.uniform(5, 15)
    distance = np.hypot(y - top, x - left) / radius
    heat = np.exp(np.log(edge + rng.normal(0, 0.04)) * distance**2) + rng.normal(0, 0.02, (12, 20))
    return np.clip(heat / heat.max(), 0, 1).astype(np.float32), (distance < 1).astype(np.uint8)


def curves_of(rng, edge, n):
    return np.stack([iou_curve(*blob(rng, edge)) for _ in range(n)])


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.3, 0.4, 0.6, 1.0]), min_size=6, max_size=6),
    st.lists(st.sampled_from([0, 1, 255]), min_size=6, max_size=6),
)
@settings(deadline=None)
def test_a_curve_holds_the_iou_of_the_mask_at_each_threshold(heat, truth):
    heat = np.array(heat, np.float32).reshape(2, 3)
    truth = np.array(truth, np.uint8).reshape(2, 3)
    counted = truth != 255
    slow = [iou((heat > float(t)) & counted, (truth == 1)) for t in THREE]
    assert iou_curve(heat, truth, THREE).tolist() == slow


def test_a_curve_has_defined_ends():
    flat, full = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    shown, absent = np.eye(2, 3, dtype=np.uint8), np.zeros((2, 3), np.uint8)
    assert iou_curve(flat, shown, THREE).tolist() == [0, 0, 0]
    assert iou_curve(flat, absent, THREE).tolist() == [1, 1, 1]
    assert iou_curve(full, shown, THREE) == pytest.approx([1 / 3] * 3)
    with pytest.raises(InputError, match="finite heat maps"):
        iou_curve(full * np.nan, shown, THREE)


def test_the_best_threshold_is_the_top_of_the_mean_curve():
    found = calibrate(np.array([[0.1, 0.5, 0.3], [0.3, 0.7, 0.8]]), THREE, left_out=4)
    assert (found.threshold, found.iou, found.n, found.left_out) == (0.4, 0.6, 2, 4)
    assert found.thresholds == (0.2, 0.4, 0.6)
    assert found.ious == (0.2, 0.6, 0.55)
    assert (found.low, found.high) == (0.4, 0.6)


def test_the_interval_is_that_of_resampled_items_one_at_a_time():
    curves = curves_of(np.random.default_rng(3), 0.4, 40)
    found = calibrate(curves, seed=7)
    rng = np.random.default_rng(0)
    bests = [
        THRESHOLDS[np.mean([curves[i] for i in rng.integers(40, size=40)], 0).argmax()]
        for _ in range(1000)
    ]
    assert [found.low, found.high] == pytest.approx(np.quantile(bests, [0.025, 0.975]), abs=0.011)
    assert found.low < found.threshold < found.high
    assert found == calibrate(curves, seed=7)


def test_a_single_item_says_nothing_of_the_interval():
    found = calibrate(np.array([[0.1, 0.5, 0.3]]), THREE)
    assert (found.low, found.threshold, found.high) == (0.2, 0.4, 0.6)


def test_no_items_and_no_overlap_are_refused():
    with pytest.raises(InputError, match="got none with and 0 without"):
        calibrate(np.empty((0, 3)), THREE)
    with pytest.raises(InputError, match="got none of 2 at any threshold"):
        calibrate(np.zeros((2, 3)), THREE)


def test_ten_to_twenty_masks_give_nearly_the_threshold_of_all():
    rng = np.random.default_rng(0)
    curves = curves_of(rng, 0.4, 400)
    everything = calibrate(curves)
    assert everything.threshold == pytest.approx(0.4, abs=0.03)
    assert everything.high - everything.low <= 0.04
    for n_masks, most_lost in ((10, 0.01), (20, 0.005)):
        few = [calibrate(rng.permutation(curves)[:n_masks]).threshold for _ in range(50)]
        ious = curves.mean(0)[np.searchsorted(THRESHOLDS, few)]
        assert np.mean(everything.iou - ious) <= most_lost


def test_an_item_is_judged_by_the_threshold_of_other_folds():
    # Alone each item prefers another threshold than the other two do.
    curves = np.array([[0.9, 0.0, 0.5], [0.0, 0.9, 0.5], [0.5, 0.5, 0.6]])
    ious = held_out_ious(curves, n_folds=3)
    for item in range(3):
        others = np.delete(curves, item, axis=0).mean(0)
        assert ious[item] == curves[item, others.argmax()]
    assert held_out_ious(curves[:1]).tolist() == [0.9]


def test_the_choice_is_not_fooled_by_thresholds_that_fit_single_items():
    rng = np.random.default_rng(0)
    steady = np.tile([0.5, 0.6, 0.5], (40, 1))
    lucky = np.eye(3)[rng.integers(3, size=40)]  # 1 at the item's own threshold, else 0
    assert held_out_ious(lucky).mean() < 0.5 < lucky.max(1).mean()
    assert choose([{"bird": lucky}, {"bird": steady}]) == 1


def test_the_first_setting_stays_unless_another_is_surely_better():
    rng = np.random.default_rng(0)
    plain = np.full((40, 3), 0.5)
    better = plain + 0.02 + rng.normal(0, 0.02, (40, 1))
    by_chance = plain + 0.005 + rng.normal(0, 0.2, (40, 1))
    assert choose([{"bird": plain}, {"bird": plain}]) == 0
    assert choose([{"bird": plain}, {"bird": by_chance}, {"bird": better}]) == 2
    assert choose([{"bird": plain}, {"bird": by_chance}]) == 0
    assert choose([{"bird": plain[:1]}, {"bird": plain[:1] + 0.1}]) == 0


def test_a_fit_calibrates_in_the_chosen_setting():
    good = curves_of(np.random.default_rng(0), 0.4, 30)
    found = fit([{"bird": good / 2}, {"bird": good}], {"bird": 3})
    assert found == Fit(1, {"bird": calibrate(good, left_out=3)}, {})


def test_a_fit_says_why_a_class_has_no_threshold():
    absent, nowhere = np.zeros((0, 91)), np.zeros((1, 91))
    left_out = {"bird": 0, "cow": 5, "dog": 0}
    found = fit([{"bird": np.ones((2, 91)), "cow": absent, "dog": nowhere}], left_out)
    assert list(found.classes) == ["bird"]
    assert found.refused["cow"].endswith("got none with and 5 without it")
    assert found.refused["dog"].startswith("expected heat maps that overlap with the reference")
    with pytest.raises(InputError, match="cow: expected a reference"):
        fit([{"cow": absent}], left_out)


numbers = st.floats(0, 1)
fields_of_class = st.fixed_dictionaries(
    dict.fromkeys(("threshold", "low", "high", "iou"), numbers)
    | dict.fromkeys(("n", "left_out"), st.integers(0, 10**6))
    | {"curve": st.lists(st.tuples(numbers, numbers), max_size=4)}
)
fields = st.fixed_dictionaries(
    {
        "model": st.text(),
        "checkpoint": st.text("0123456789abcdef", min_size=16, max_size=16),
        "merge": st.sampled_from(["mean", "max"]),
        "weights": st.none() | st.dictionaries(st.sampled_from([1, 2, 4]), numbers),
        "heat": st.sampled_from(["attention", "affinity"]),
        "reference": st.text(),
        "classes": st.dictionaries(st.text(), fields_of_class, max_size=3),
    }
)


@given(fields)
@settings(deadline=None, max_examples=30)
def test_a_file_gives_back_what_was_written(tmp_path_factory, fields):
    classes = {
        name: ClassThreshold(
            **{key: value for key, value in one.items() if key != "curve"},
            thresholds=tuple(t for t, _ in one["curve"]),
            ious=tuple(value for _, value in one["curve"]),
        )
        for name, one in fields["classes"].items()
    }
    thresholds = Thresholds(**(fields | {"classes": classes}))
    path = tmp_path_factory.getbasetemp() / "thresholds.json"
    write_thresholds(path, thresholds)
    assert read_thresholds(path) == thresholds


def bird():
    one = ClassThreshold(0.41, 0.38, 0.45, 0.7, 190, 10, (0.2, 0.4), (0.5, 0.7))
    kind = ("mean", None, "attention")
    return Thresholds("tiny", "0123456789abcdef", *kind, "affinity", {"bird": one})


def test_a_file_is_replaced_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "thresholds.json"
    write_thresholds(path, bird())
    write_thresholds(path, bird())
    assert [entry.name for entry in path.parent.iterdir()] == ["thresholds.json"]
    assert json.loads(path.read_text())["classes"]["bird"]["curve"]["iou"] == [0.5, 0.7]


def test_thresholds_are_of_their_classes_and_their_model_only():
    assert bird().of("bird") == 0.41
    with pytest.raises(InputError, match=r"\(bird\), got 'cow'; calibrate that too$"):
        bird().of("cow")
    bird().check_model("renamed", "0123456789abcdef")
    with pytest.raises(InputError, match=r"of the model 'sd15' .* got those of 'tiny' "):
        bird().check_model("sd15", "fedcba9876543210")


def test_the_plot_has_a_panel_for_each_class(tmp_path):
    (one,) = bird().classes.values()
    write_curves(tmp_path / "curves.svg", "IoU", {f"<{i}>": one for i in range(7)})
    root = ElementTree.parse(tmp_path / "curves.svg").getroot()
    texts = [text.text for text in root.findall(".//{*}text")]
    assert "IoU" in texts
    assert {f"<{i}>" for i in range(7)} < set(texts)
    figures = f"{one.threshold:.2f} ({one.low:.2f} to {one.high:.2f}), IoU {one.iou:.2f}"
    assert texts.count(figures) == 7


def cut(tmp_path: Path, *keys, value=None):
    """Write the file with the value at some keys replaced, or the key dropped."""
    path = tmp_path / "thresholds.json"
    write_thresholds(path, bird())
    raw = json.loads(path.read_text())
    inner = raw
    for key in keys[:-1]:
        inner = inner[key]
    inner.pop(keys[-1])
    inner.update({} if value is None else {keys[-1]: value})
    path.write_text(json.dumps(raw))
    return path


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["format"], 2, "in format 1, got"),
        (["classes"], None, "in format 1, got"),
        (["model"], None, "with no 'model'"),
        (["merge"], 3, "with merge of 3"),
        (["weights"], {"fine": 1.0}, "invalid literal"),
        (["classes"], ["bird"], "a whole thresholds file"),
        (["classes", "bird"], 0.41, "a whole thresholds file"),
        (["classes", "bird", "low"], None, "with no 'low'"),
        (["classes", "bird", "threshold"], 41, "with threshold of 41"),
        (["classes", "bird", "threshold"], float("nan"), "with threshold of nan"),
        (["classes", "bird", "n"], float("inf"), "with n of inf"),
        (["classes", "bird", "curve", "iou"], [0.5], "2 thresholds with 1 IoU"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, keys, value, message):
    with pytest.raises(InputError, match=message) as caught:
        read_thresholds(cut(tmp_path, *keys, value=value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b'{"a": 1}', b"{"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(InputError, match="expected a thresholds file"):
        read_thresholds(tmp_path / "other")
    with pytest.raises(InputError, match="No such file"):
        read_thresholds(tmp_path / "missing")


def test_the_code_of_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "calibrate.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(block, names)
    assert names["found"].iou == 1
