import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffumask.calibration.file import Thresholds, read_thresholds, write_thresholds
from diffumask.calibration.fit import (
    AUTO,
    THRESHOLDS,
    ClassThreshold,
    Fit,
    best_number,
    calibrate,
    choose,
    fit,
    held_out_ious,
    pick,
)
from diffumask.calibration.plot import write_curves
from diffumask.calibration.setting import Setting, near
from diffumask.errors import InputError

THREE = np.array([0.2, 0.4, 0.6])


def curves_of(rng, n, best=0.4, auto=0.6):
    """Curves that are highest near a threshold, and reach `auto` by default."""
    tops = best + rng.normal(0, 0.05, (n, 1))
    numbers = 0.8 - 2 * (THRESHOLDS - tops) ** 2
    by_default = auto + rng.normal(0, 0.02, (n, 1))
    return np.clip(np.concatenate([by_default, numbers], axis=1), 0, 1)


def test_the_best_threshold_is_the_top_of_the_mean_curve():
    rows = [[0.1, 0.1, 0.5, 0.3], [0.1, 0.3, 0.7, 0.6]] * 5
    found = calibrate(np.array(rows), THREE, left_out=4)
    assert (found.threshold, found.iou, found.n, found.left_out) == (0.4, 0.6, 10, 4)
    assert found.default_iou == 0.1
    assert found.thresholds == (0.2, 0.4, 0.6)
    assert found.ious == (0.2, 0.6, 0.45)
    assert (found.low, found.high) == (0.4, 0.4)


def test_the_interval_is_that_of_resampled_items_one_at_a_time():
    curves = curves_of(np.random.default_rng(3), 40, best=0.42)
    found = calibrate(curves, seed=7)
    rng = np.random.default_rng(0)
    bests = [
        THRESHOLDS[np.mean([curves[i, 1:] for i in rng.integers(40, size=40)], 0).argmax()]
        for _ in range(1000)
    ]
    assert [found.low, found.high] == pytest.approx(np.quantile(bests, [0.025, 0.975]), abs=0.051)
    assert found.threshold is not None
    assert found.low <= found.threshold <= found.high
    assert found == calibrate(curves, seed=7)


def test_a_single_item_says_nothing_of_the_interval_and_keeps_the_default():
    found = calibrate(np.array([[0.1, 0.1, 0.5, 0.3]]), THREE)
    assert (found.low, found.threshold, found.high) == (0.2, None, 0.6)
    assert found.iou == found.default_iou == 0.1


def test_no_items_and_no_overlap_are_refused():
    with pytest.raises(InputError, match="got none with and 0 without"):
        calibrate(np.empty((0, 4)), THREE)
    with pytest.raises(InputError, match="got none of 2 at any threshold"):
        calibrate(np.zeros((2, 4)), THREE)


def test_ten_to_twenty_masks_give_nearly_the_threshold_of_all():
    rng = np.random.default_rng(0)
    curves = curves_of(rng, 400)
    everything = calibrate(curves)
    assert everything.threshold == 0.4
    for n_masks in (10, 20):
        few = [calibrate(rng.permutation(curves)[:n_masks]).threshold for _ in range(20)]
        numbers = [threshold for threshold in few if threshold is not None]
        assert len(numbers) == len(few)
        ious = curves.mean(0)[1 + np.searchsorted(THRESHOLDS, numbers)]
        assert np.mean(everything.iou - ious) <= 0.005


def test_an_item_is_judged_by_the_threshold_of_other_folds():
    # Alone each item prefers another threshold than the other two do.
    curves = np.array([[0, 0.9, 0.0, 0.5], [0, 0.0, 0.9, 0.5], [0, 0.5, 0.5, 0.6]])
    ious = held_out_ious(curves, best_number)
    for item in range(3):
        others = np.delete(curves, item, axis=0).mean(0)
        assert ious[item] == curves[item, others.argmax()]
    assert held_out_ious(curves[:1], best_number).tolist() == [0.9]


def test_a_number_is_taken_only_where_it_surely_beats_the_default():
    rng = np.random.default_rng(0)
    assert pick(curves_of(rng, 20, auto=0.6)) == 1 + np.flatnonzero(THRESHOLDS == 0.4)[0]
    assert pick(curves_of(rng, 20, auto=0.8)) == AUTO
    # by chance each item has a number at which it is better than by default
    lucky = np.concatenate([np.full((40, 1), 0.2), np.eye(5)[rng.integers(5, size=40)]], axis=1)
    assert pick(lucky) == AUTO


@pytest.mark.parametrize("n", [5, 20])
def test_where_numbers_are_no_better_than_the_default_one_is_hardly_ever_taken(n):
    rng = np.random.default_rng(0)
    taken = [pick(curves_of(rng, n, auto=0.795)) != AUTO for _ in range(200)]
    assert np.mean(taken) < 0.05


def test_the_choice_is_not_fooled_by_thresholds_that_fit_single_items():
    rng = np.random.default_rng(0)
    steady = np.tile([0.2, 0.5, 0.6, 0.5], (40, 1))
    lucky = np.concatenate([np.full((40, 1), 0.2), np.eye(3)[rng.integers(3, size=40)]], axis=1)
    assert held_out_ious(lucky).mean() < 0.5 < lucky.max(1).mean()
    assert choose([{"bird": lucky}, {"bird": steady}]) == 1


def test_the_first_setting_stays_unless_another_is_surely_better():
    rng = np.random.default_rng(0)
    plain = np.full((40, 4), 0.5)
    better = plain + 0.02 + rng.normal(0, 0.02, (40, 1))
    by_chance = plain + 0.005 + rng.normal(0, 0.2, (40, 1))
    assert choose([{"bird": plain}, {"bird": plain}]) == 0
    assert choose([{"bird": plain}, {"bird": by_chance}, {"bird": better}]) == 2
    assert choose([{"bird": plain}, {"bird": by_chance}]) == 0
    assert choose([{"bird": plain[:1]}, {"bird": plain[:1] + 0.1}]) == 0


def test_a_fit_calibrates_in_the_chosen_setting_and_compares_with_the_first():
    good = curves_of(np.random.default_rng(0), 30)
    found = fit([{"bird": good / 2}, {"bird": good}], {"bird": 3})
    default_iou = round(float(good[:, AUTO].mean() / 2), 4)
    one = replace(calibrate(good, left_out=3), default_iou=default_iou)
    assert found == Fit(1, {"bird": one}, {})


def test_a_fit_says_why_a_class_has_no_threshold():
    absent, nowhere = np.zeros((0, 15)), np.zeros((1, 15))
    left_out = {"bird": 0, "cow": 5, "dog": 0}
    found = fit([{"bird": np.ones((2, 15)), "cow": absent, "dog": nowhere}], left_out)
    assert list(found.classes) == ["bird"]
    assert found.refused["cow"].endswith("got none with and 5 without it")
    assert found.refused["dog"].startswith("expected masks that overlap with the reference")
    with pytest.raises(InputError, match="cow: expected a reference"):
        fit([{"cow": absent}], left_out)


@pytest.mark.parametrize("heat", ["affinity", "attention"])
def test_settings_differ_from_the_default_in_one_thing(heat):
    first, *others = near(Setting(power=2, heat=heat))
    assert first == Setting(power=2, heat=heat)
    for one in others:
        assert sum(getattr(one, key) != getattr(first, key) for key in one.__slots__) == 1
    kinds = {one.heat for one in others}
    assert kinds == ({"affinity", "attention"} if heat == "affinity" else {"attention"})
    assert {one.refiner for one in others} >= {"none", "crf", "crf-wide"}
    assert {one.uncertain_band for one in others} == {0.0, 0.02, 0.05}


numbers = st.floats(0, 1)
fields_of_class = st.fixed_dictionaries(
    dict.fromkeys(("low", "high", "iou", "default_iou"), numbers)
    | dict.fromkeys(("n", "left_out"), st.integers(0, 10**6))
    | {"threshold": st.none() | numbers}
    | {"curve": st.lists(st.tuples(numbers, numbers), max_size=4)}
)
settings_of = st.builds(
    Setting,
    merge=st.sampled_from(["mean", "max"]),
    weights=st.none() | st.dictionaries(st.sampled_from([1, 2, 4]), numbers),
    power=st.integers(0, 8),
    heat=st.sampled_from(["attention", "affinity"]),
    refiner=st.sampled_from(["none", "crf"]),
    uncertain_band=numbers,
)
fields = st.fixed_dictionaries(
    {
        "model": st.text(),
        "checkpoint": st.text("0123456789abcdef", min_size=16, max_size=16),
        "setting": settings_of,
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
    one = ClassThreshold(0.4, 0.35, 0.45, 0.7, 0.6, 190, 10, (0.2, 0.4), (0.5, 0.7))
    auto = replace(one, threshold=None, iou=0.6)
    both = {"bird": one, "dog": auto}
    return Thresholds("tiny", "0123456789abcdef", Setting(), "masks:drawn", both)


def test_a_file_is_replaced_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "thresholds.json"
    write_thresholds(path, bird())
    write_thresholds(path, bird())
    assert [entry.name for entry in path.parent.iterdir()] == ["thresholds.json"]
    assert json.loads(path.read_text())["classes"]["bird"]["curve"]["iou"] == [0.5, 0.7]


def test_thresholds_are_of_their_classes_and_their_model_only():
    assert bird().of("bird") == 0.4
    assert bird().of("dog") is None
    with pytest.raises(InputError, match=r"\(bird, dog\), got 'cow'; calibrate that too$"):
        bird().of("cow")
    bird().check_model("renamed", "0123456789abcdef")
    with pytest.raises(InputError, match=r"of the model 'sd15' .* got those of 'tiny' "):
        bird().check_model("sd15", "fedcba9876543210")


def test_the_plot_has_a_panel_for_each_class(tmp_path):
    one, auto = bird().classes.values()
    panels = {f"<{i}>": one for i in range(7)} | {"dog": auto}
    write_curves(tmp_path / "curves.svg", "IoU", panels)
    root = ElementTree.parse(tmp_path / "curves.svg").getroot()
    texts = [text.text for text in root.findall(".//{*}text")]
    assert "IoU" in texts
    assert {f"<{i}>" for i in range(7)} < set(texts)
    figures = f"{one.threshold:.2f} ({one.low:.2f} to {one.high:.2f}), IoU {one.iou:.2f}"
    assert texts.count(figures) == 7
    assert "auto (0.35 to 0.45), IoU 0.60" in texts


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
        (["format"], 1, "in format 2, got .* with format 1; make it again with diffumask"),
        (["format"], "2", "in format 2, got .* with something else; make it again"),
        (["classes"], None, "with no 'classes'"),
        (["model"], None, "with no 'model'"),
        (["merge"], 3, "with merge of 3"),
        (["weights"], {"fine": 1.0}, "invalid literal"),
        (["power"], -1, "with power of -1"),
        (["heat"], "fire", "with heat of 'fire'"),
        (["refiner"], "magic", "with refiner of 'magic'"),
        (["uncertain_band"], None, "with no 'uncertain_band'"),
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
    assert names["found"].threshold == 0.4
