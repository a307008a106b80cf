"""Folds, gates, qualities and verdicts of noise learning."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.errors import InputError
from diffumask.labelled.labels import Labels
from diffumask.noise.admission import Outcome, admission, warnings
from diffumask.noise.cutoffs import read_cut_offs
from diffumask.noise.folds import assign_folds
from diffumask.noise.gates import Gates, apply_gates
from diffumask.noise.items import MaskSummary
from diffumask.noise.quality import METHODS, HeldOut, check_method, confident_learning, iou
from diffumask.noise.verdicts import CutOffs, ItemQuality, Proportion, prune

LABELS = Labels({"bird": 3, "cat": 8})


def item(name: str, class_name: str = "bird", scores=None, **areas: float) -> MaskSummary:
    return MaskSummary(name, class_name, areas or {class_name: 0.5}, scores or {}, "0")


def held_out(class_map: list[list[int]], predicted: list[list[int]], sure: float) -> HeldOut:
    """A prediction that gives its label the probability `sure` and shares out the rest."""
    mask, guess = np.array(class_map, np.uint8), np.array(predicted, np.uint8)
    label = LABELS.encode(guess)
    hot = np.arange(3)[:, None, None] == label
    probabilities = np.where(hot, sure, (1 - sure) / 2).astype(np.float32)
    return HeldOut(mask, LABELS.encode(mask), guess, probabilities)


@given(
    st.dictionaries(st.text(max_size=6), st.sampled_from("abc"), min_size=1, max_size=60),
    st.integers(2, 5),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
def test_folds_share_every_class_out_evenly_in_any_order(class_of, num_folds, seed, random):
    sizes = Counter(class_of.values())
    if min(sizes.values()) < num_folds:
        with pytest.raises(InputError, match=rf"expected {num_folds} items or more of"):
            assign_folds(class_of, num_folds, seed)
        return
    folds = assign_folds(class_of, num_folds, seed)
    assert folds.keys() == class_of.keys()
    for class_name in sizes:
        counts = Counter(fold for name, fold in folds.items() if class_of[name] == class_name)
        assert set(counts) == set(range(num_folds))
        assert max(counts.values()) - min(counts.values()) <= 1
    shuffled = list(class_of.items())
    random.shuffle(shuffled)
    assert assign_folds(dict(shuffled), num_folds, seed) == folds


def test_the_seed_chooses_the_folds():
    class_of = {f"Bird_{index:06d}": "bird" for index in range(30)}
    assert assign_folds(class_of, 3, 0) != assign_folds(class_of, 3, 1)
    with pytest.raises(InputError, match="2 folds or more, got 1"):
        assign_folds(class_of, 1, 0)


def test_iou_is_of_each_class_and_leaves_ignored_pixels_out():
    one = held_out([[3, 3, 0, 255], [8, 0, 0, 255]], [[3, 0, 0, 3], [8, 8, 0, 8]], 0.9)
    assert iou(one, [3, 8]) == {3: 0.5, 8: 0.5}


def test_a_class_that_neither_has_agrees_and_one_that_only_the_network_sees_does_not():
    one = held_out([[3, 0, 0], [3, 0, 0]], [[3, 0, 0], [3, 0, 0]], 0.9)
    assert iou(one, [3, 8]) == {3: 1.0, 8: 1.0}
    lost = held_out([[3, 0, 0], [3, 0, 0]], [[3, 0, 8], [3, 0, 0]], 0.9)
    assert iou(lost, [8]) == {8: 0.0}


def slow_soft_minimum(one: HeldOut) -> float:
    """The soft minimum by its definition, pixel by pixel."""
    values = [
        float(one.probabilities[label, y, x])
        for (y, x), label in np.ndenumerate(one.labels)
        if label != 255
    ]
    weights = [np.exp((1 - value) / 0.1) for value in values]
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def test_confident_learning_is_cleanlabs_score_of_the_pixels_that_count():
    pytest.importorskip("cleanlab")
    good = held_out([[3, 3, 0, 255]], [[3, 3, 0, 8]], 0.9)
    bad = held_out([[3, 3, 0, 255]], [[0, 0, 3, 8]], 0.9)
    for one in (good, bad):
        found = confident_learning(one, [3, 8])
        assert found == {3: pytest.approx(slow_soft_minimum(one), abs=1e-5), 8: found[3]}
    assert confident_learning(good, [3])[3] == pytest.approx(0.9)
    assert confident_learning(bad, [3])[3] < 0.1
    assert confident_learning(held_out([[255, 255]], [[3, 3]], 0.9), [3]) == {3: 0.0}


def test_methods_are_known_by_name(monkeypatch: pytest.MonkeyPatch):
    assert set(METHODS) == {"iou", "confident-learning"}
    check_method("iou")
    with pytest.raises(InputError, match="method iou or confident-learning, got 'dice'"):
        check_method("dice")
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.segmentation", None)
    with pytest.raises(InputError, match=r"pip install 'diffumask\[noise\]'"):
        check_method("confident-learning")


def test_gates_stop_by_the_first_reason():
    items = [
        item("empty", bird=0.0, cat=0.0),
        item("shaky", scores={"stability": 0.2}),
        item("small", scores={"stability": 0.9}, bird=0.3, cat=0.01),
        item("fine", scores={"stability": 0.5}),
    ]
    items[0] = MaskSummary("empty", "bird", {"bird": 0.0}, {"stability": 0.0}, "0")
    found = apply_gates(items, Gates({"stability": 0.5}, (0.02, 0.9)))
    assert {name: (one.is_kept, one.reason, one.cause) for name, one in found.items()} == {
        "empty": (False, "empty mask", "empty mask"),
        "shaky": (False, "score stability 0.2 below 0.5", "score stability"),
        "small": (False, "area 0.01 of cat outside 0.02..0.9", "area"),
    }
    assert found["shaky"].quality is None
    assert set(apply_gates(items, Gates())) == {"empty"}


def test_gates_that_cannot_hold_are_refused():
    with pytest.raises(InputError, match="score 'contrast' of a, got an item with stability"):
        apply_gates([item("a", scores={"stability": 1.0})], Gates({"contrast": 0.5}))
    with pytest.raises(InputError, match=r"area range in 0..1, got 0.9..0.1"):
        Gates(area=(0.9, 0.1))


def judged(class_name: str, *qualities: float) -> list[ItemQuality]:
    return [
        ItemQuality(f"{class_name}{i}", class_name, {class_name: q})
        for i, q in enumerate(qualities)
    ]


def test_a_proportion_drops_the_lowest_of_each_class():
    verdicts = prune(
        judged("a", 0.9, 0.1, 0.5, 0.7) + judged("b", 0.99, 0.98), Proportion(0.5), "iou"
    )
    assert {name for name, one in verdicts.items() if not one.is_kept} == {"a1", "a2", "b1"}
    assert verdicts["a2"].reason == "iou 0.500 is in the lowest 50 % of a"
    assert (verdicts["a0"].reason, verdicts["a0"].cause) == ("iou 0.900", "")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 99))
def test_a_proportion_is_rounded_down_and_keeps_the_best(qualities, percent):
    verdicts = prune(judged("a", *qualities), Proportion(percent / 100), "iou")
    dropped = [one.quality or 0.0 for one in verdicts.values() if not one.is_kept]
    kept = [one.quality or 0.0 for one in verdicts.values() if one.is_kept]
    assert len(dropped) == percent * len(qualities) // 100
    assert kept
    assert max(dropped, default=0.0) <= min(kept)


def test_the_worst_class_of_an_item_decides():
    one = ItemQuality("x", "a", {"a": 0.95, "b": 0.4})
    assert one.quality == 0.4
    verdict = prune([one], CutOffs({"a": 0.9, "b": 0.5}), "iou")["x"]
    assert (verdict.is_kept, verdict.reason) == (False, "iou 0.400 of b below 0.5")
    assert prune([one], CutOffs({"a": 0.9, "b": 0.4}), "iou")["x"].is_kept
    assert verdict.facts("iou") == {
        "verdict": "dropped",
        "reason": "iou 0.400 of b below 0.5",
        "quality": 0.4,
        "quality_by_class": {"a": 0.95, "b": 0.4},
        "quality_method": "iou",
    }


def test_rules_that_cannot_hold_are_refused():
    for alpha in (-0.1, 1.0):
        with pytest.raises(InputError, match=r"alpha in \[0, 1\)"):
            Proportion(alpha)
    with pytest.raises(InputError, match="cut-off for b, got those of a; add it"):
        CutOffs({"a": 0.5}).check(["a", "b"])
    with pytest.raises(InputError, match=r"cut-off in \[0, 1\], got 2.0 for a"):
        CutOffs({"a": 2.0})


def test_cut_offs_are_read_from_toml_and_json(tmp_path: Path):
    toml, other = tmp_path / "c.toml", tmp_path / "c.json"
    toml.write_text('bird = 0.92\n"potted plant" = 1\n')
    other.write_text(json.dumps({"bird": 0.92, "potted plant": 1}))
    for path in (toml, other):
        assert read_cut_offs(path, ["bird", "potted plant"]) == {"bird": 0.92, "potted plant": 1.0}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "", "FILE.toml or FILE.json"),
        ("c.json", "{", "expected cut-offs by class in"),
        ("c.json", "[]", "such as bird = 0.92"),
        ("c.toml", "bird = 92", r"in \[0, 1\] for bird in .*, got 92"),
        ("c.toml", "bird = true", "got True"),
        ("c.toml", "dog = 0.9", "classes of the dataset .bird, cat. in .*, got 'dog'"),
        ("missing.toml", None, "No such file"),
    ],
)
def test_bad_cut_offs_are_refused(tmp_path: Path, name: str, text: str | None, message: str):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_cut_offs(tmp_path / name, ["bird", "cat"])


def test_the_admission_report_counts_by_class():
    items = [item("a0", "a"), item("a1", "a"), item("b0", "b"), item("b1", "b", b=0.0)]
    gated = apply_gates(items, Gates())
    verdicts = gated | prune(judged("a", 0.9, 0.3) + judged("b", 0.05), Proportion(0.5), "iou")
    outcome = Outcome(items, verdicts, "iou")
    assert admission(outcome).splitlines() == [
        "4 items, 3 eligible, 2 kept",
        "dropped: empty mask 1, iou 1",
        "",
        "class  input  eligible  dropped  kept  mean iou  lowest",
        "a          2         2        1     1     0.600   0.900",
        "b          2         1        0     1     0.050   0.050",
        "all        4         3        1     2     0.417   0.050",
    ]
    (line,) = warnings(outcome)
    assert line.startswith("the networks found next to nothing of b (mean iou below 0.1)")
    assert warnings(Outcome(items[:2], verdicts, "iou")) == []
