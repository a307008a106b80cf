"""Lines of metadata.jsonl and run.json as types, and byte by byte as files."""

import json

import numpy as np
import pytest
from formats_data import class_maps, dataset
from hypothesis import given
from hypothesis import strategies as st

from diffumask.dataset.annotate import annotate
from diffumask.dataset.encode import encode_item, to_line
from diffumask.dataset.listing import parse_line, read_records
from diffumask.dataset.record import Record
from diffumask.dataset.run import Run, read_run
from diffumask.dataset.store import open_store
from diffumask.dataset.verify import repair
from diffumask.errors import InputError
from diffumask.files.json_kinds import MAX_DEPTH, is_number, parse
from diffumask.types import Example, Prompt, Target

LINE = (
    '{"file_name": "images/Bird_000001.png", "mask_file_name": "masks/Bird_000001.png", '
    '"prompt": "ein Vogel, 鳥", "class": "Vogel", "class_id": 3, "targets": '
    '[{"word": "鳥", "class": "Vogel", "class_id": 3, "why": null}], "sub_class": "", '
    '"context": "", "seed": 7, "index": 1, "own": [1.50, 1e-07, NaN, {"b": 1, "a": [true]}], '
    '"thresholds": [0.5, 1], "foreground": 0, "scores": {"area": 1, "contrast": 0.25}, '
    '"files": {"image": {"bytes": 9, "blake2b": "ab"}}, "quality": null}\n'
).replace("1.50", "1.5")
WRONG = [
    ("seed", None),
    ("seed", 1.0),
    ("seed", 2**63),
    ("class_id", "3"),
    ("class_id", 8),
    ("class_id", True),
    ("prompt", {}),
    ("targets", []),
    ("targets", {}),
    ("scores", {"area": 10**400}),
    ("scores", {"area": float("nan")}),
    ("foreground", 10**400),
    ("foreground", None),
    ("thresholds", ["1"]),
    ("verdict", "perhaps"),
    ("quality", "high"),
    ("files", {"image": {"bytes": -1, "blake2b": "ab"}}),
    ("files", {"image": {"bytes": 1}}),
    ("index", "1"),
    ("attempt", 1.0),
    ("absent", ["bird"]),
    ("absent", {"bird": None}),
    ("model", 5),
]
RUN = {
    "format": 1,
    "settings": {"merge": "mean", "weights": {"8": 0.5}, "x": []},
    "classes": {"a": 1},
    "runs": [{}],
}


def test_a_line_comes_back_as_it_was_read():
    record = parse_line(LINE)
    assert record is not None
    assert to_line(record) == LINE
    assert record.prompt == Prompt("ein Vogel, 鳥", (Target("鳥", "Vogel", 3),))
    assert (record.name, record.seed, record.foreground) == ("Bird_000001", 7, 0)
    assert (record.thresholds, record.quality, record.model) == ((0.5, 1), None, None)
    assert (record.absent, record.attempt) == ({}, None)
    assert to_line(record.changed({"verdict": "kept", "seed": 8})) == LINE.replace(
        '"seed": 7', '"seed": 8'
    ).replace("null}\n", 'null, "verdict": "kept"}\n')


@pytest.mark.parametrize(("key", "value"), WRONG, ids=range(len(WRONG)))
def test_a_field_of_another_kind_is_named(key, value):
    with pytest.raises(InputError, match=f"as '(area|{key}|bytes|blake2b)', got|as 'class'"):
        Record.from_json({**json.loads(LINE), key: value})


@pytest.mark.parametrize("key", ["prompt", "class", "class_id", "targets", "seed", "scores"])
def test_a_field_that_all_makers_of_items_write_is_needed(key):
    fields = json.loads(LINE)
    del fields[key]
    with pytest.raises(InputError, match=f"as '{key}', got none"):
        Record.from_json(fields)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("settings", "guidance_scale"), "x"),
        (("settings", "keep_maps"), 1),
        (("settings", "weights"), {"x": 1}),
        (("settings", "weights"), {"8": "x"}),
        (("settings", "threshold"), []),
        (("classes", "a"), 255),
        (("classes", "a"), True),
        (("runs",), [3]),
        (("runs",), [{"shard": 5}]),
        (("settings", "matrix_strides"), 4),
        (("settings", "matrix_strides"), [4]),
        (("settings", "matrix_strides"), [4, True]),
        (("format",), 2),
        (("format",), True),
        (("settings",), []),
    ],
)
def test_a_run_of_other_kinds_is_refused(keys, value):
    tree = json.loads(json.dumps(RUN))
    *way, last = keys
    inner = tree
    for key in way:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(InputError, match="expected"):
        Run.from_json(tree)


def test_a_run_comes_back_as_it_was_read():
    run = Run.from_json(json.loads(json.dumps(RUN)))
    assert json.dumps(run.to_json()) == json.dumps(RUN)
    assert run.heat_made() == {"merge": "mean", "weights": {8: 0.5}, "power": 1}
    with pytest.raises(InputError, match="the setting 'model', got none"):
        run.setting("model")


@pytest.mark.parametrize(
    "deep", ["[" * 5000, "[" * 100 + "]" * 100, '{"a":' * 500 + "1" + "}" * 500]
)
def test_what_is_nested_too_deeply_is_no_json(deep):
    with pytest.raises(ValueError, match=r"nested|Expecting"):
        parse(deep)
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_what_python_calls_a_number_and_a_float_can_be_is_one(value):
    assert is_number(value) == (type(value) is float and abs(value) < float("inf"))
    assert not is_number(10**400)


def test_a_wrong_line_stops_readers_and_a_repair_takes_it_out(tmp_path):
    data = dataset(tmp_path / "data", class_maps(3))
    lines = (data / "metadata.jsonl").read_text("utf-8").splitlines(keepends=True)
    wrong = lines[1].replace('"seed": 1', '"seed": "1"')
    (data / "metadata.jsonl").write_text("".join([lines[0], wrong, lines[2]]), "utf-8")
    message = r"64 bits as 'seed', got '1' in the line of Bird_000001 in .*metadata.jsonl; see what"
    with pytest.raises(InputError, match=message):
        read_records(data)
    (problem, *_) = repair(data).problems
    assert "'seed', got '1'" in problem.message
    assert [one.name for one in read_records(data)] == ["Bird_000000", "Bird_000002"]
    assert (data / "metadata.jsonl").read_text("utf-8") == lines[0] + lines[2]


def test_files_are_written_byte_by_byte_as_before_there_was_a_type(tmp_path):
    prompt = Prompt("a bird on grass, 鳥", (Target("bird", "bird", 3),), "duck", "on grass")
    example = Example(
        prompt, 2**62 + 1, np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8), {"area": 1.0}
    )
    facts = {"index": 1, "thresholds": [0.5], "foreground": 0.0, "own": {"é": 1e-7}}
    item = encode_item("Bird_000001", example, facts)
    for _ in range(2):  # made, and gone on with
        with open_store(tmp_path, {"model": "x", "é": (1, 2)}, {"bird": 3}, {"n": 1}) as store:
            if not store.records:
                store.write_batch([item])
    annotate(tmp_path, {"Bird_000001": {"verdict": "kept", "quality": None, "index": 2}})
    repair(tmp_path)
    files = json.dumps(item.record.fields["files"])
    assert (tmp_path / "metadata.jsonl").read_text("utf-8") == (
        '{"file_name": "images/Bird_000001.png", "mask_file_name": "masks/Bird_000001.png", '
        '"prompt": "a bird on grass, 鳥", "class": "bird", "class_id": 3, "targets": [{"word": '
        '"bird", "class": "bird", "class_id": 3}], "sub_class": "duck", "context": "on grass", '
        '"seed": 4611686018427387905, "index": 2, "thresholds": [0.5], "foreground": 0.0, "own": '
        '{"é": 1e-07}, "scores": {"area": 1.0}, "files": '
        f'{files}, "verdict": "kept", "quality": null}}\n'
    )
    run = {
        "format": 1,
        "settings": {"model": "x", "é": [1, 2]},
        "classes": {"bird": 3},
        "runs": [{"n": 1}],
    }
    assert (tmp_path / "run.json").read_text("utf-8") == json.dumps(run, indent=2) + "\n"
    assert read_run(tmp_path).to_json() == run
