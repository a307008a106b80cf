import json
import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from commands import call, contents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from diffumask.dataset.encode import encode_class_map, encode_image
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import encode_maps
from diffumask.dataset.store import open_store
from diffumask.dataset.verify import repair, verify
from diffumask.errors import InputError
from diffumask.types import Example, Prompt, Sample, Target

NAMES = ("Bird_000000", "Bird_000001", "Bird_000002")
ONE = "Bird_000001"
IMAGE, MASK, MAPS = f"images/{ONE}.png", f"masks/{ONE}.png", f"maps/{ONE}.safetensors"


def example(seed: int) -> Example:
    image = np.full((2, 3, 3), seed, np.uint8)
    prompt = Prompt("a bird", (Target("bird", "bird", 3),))
    return Example(prompt, seed, image, np.array([[0, 3, 3], [255, 3, 0]], np.uint8))


def write(folder: Path) -> None:
    with open_store(folder, {"seed": 0}, {"bird": 3}, {"n": 3}) as store:
        for seed, name in enumerate(NAMES):
            one = example(seed)
            heat = np.ones((1, 2), np.float32)
            maps = encode_maps(Sample(one.prompt, seed, one.image, {"bird": heat}))
            store.write(name, one, {"index": seed}, maps)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three items; read only."""
    write(folder := tmp_path_factory.mktemp("written") / "data")
    return folder


@pytest.fixture
def data(tmp_path: Path, written: Path) -> Path:
    """A copy of it, to spoil."""
    return shutil.copytree(written, tmp_path / "data")


def lines(folder: Path) -> list[str]:
    return (folder / "metadata.jsonl").read_text().splitlines()


def change_line(data: Path, **fields) -> None:
    """Set fields in the line of the item."""
    changed = [json.loads(line) for line in lines(data)]
    changed[1] |= fields
    (data / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in changed))


def truncate(path: str):
    return lambda data: (data / path).write_bytes((data / path).read_bytes()[:-5])


def flip(path: str):
    def change(data: Path) -> None:
        content = bytearray((data / path).read_bytes())
        content[len(content) // 2] ^= 255
        (data / path).write_bytes(bytes(content))

    return change


def draw(path: str, content: bytes):
    return lambda data: (data / path).write_bytes(content)


def link_out(data: Path) -> None:
    outside = data.parent / "secret.png"
    (data / IMAGE).rename(outside)
    (data / IMAGE).symlink_to(outside)


def png(array: list[list[int]]) -> bytes:
    PillowImage.fromarray(np.array(array, np.uint8)).save(file := BytesIO(), "PNG")
    return file.getvalue()


BROKEN = {
    "no image": (lambda data: (data / IMAGE).unlink(), IMAGE, "expected a file, got none"),
    "no mask": (lambda data: (data / MASK).unlink(), MASK, "expected a file, got none"),
    "torn image": (truncate(IMAGE), IMAGE, "bytes, got"),
    "torn mask": (truncate(MASK), MASK, "cut short"),
    "torn maps": (truncate(MAPS), MAPS, "cut short"),
    "empty image": (draw(IMAGE, b""), IMAGE, "got 0: it is cut short"),
    "flipped image": (flip(IMAGE), IMAGE, "got "),
    "flipped maps": (flip(MAPS), MAPS, "got "),
    "no picture": (draw(IMAGE, b"x" * 100 + b"IEND\xaeB`\x82"), IMAGE, "whole PNG"),
    "changed image": (
        draw(IMAGE, encode_image(example(77).image)),
        IMAGE,
        "expected the file as it was written, got other content; accept it if it is yours",
    ),
    "grey image": (draw(IMAGE, png([[1, 2, 3]])), IMAGE, "expected a PNG of RGB, got L"),
    "mask in colour": (draw(MASK, encode_image(example(0).image)), MASK, "P or L, got RGB"),
    "size": (draw(MASK, png([[0, 3]])), MASK, "size of the image, 2x3, got 1x2"),
    "label": (
        draw(MASK, encode_class_map(np.full((2, 3), 8, np.uint8))),
        MASK,
        "expected labels of 0, 3, 255, got 8",
    ),
    "link": (link_out, IMAGE, "got a link that leads out of it"),
    "folder": (
        lambda data: ((data / IMAGE).unlink(), (data / IMAGE).mkdir()),
        IMAGE,
        "no plain file",
    ),
    "other class": (
        lambda data: change_line(data, class_id=8),
        "metadata.jsonl:2",
        "expected the class of the first target",
    ),
    "unknown class": (
        lambda data: change_line(
            data,
            **{"targets": [{"word": "a", "class": "cat", "class_id": 8}]},
            **{"class": "cat", "class_id": 8},
        ),
        "metadata.jsonl:2",
        "expected the class ids of run.json",
    ),
    "no seed": (lambda data: change_line(data, seed=None), "metadata.jsonl:2", "as 'seed'"),
    "no targets": (lambda data: change_line(data, targets=[]), "metadata.jsonl:2", "expected"),
    "checksums": (lambda data: change_line(data, files=3), "metadata.jsonl:2", "as 'files'"),
    "leads out": (
        lambda data: change_line(data, file_name=f"../{ONE}.png"),
        "metadata.jsonl:2",
        "expected files of the item in the folder",
    ),
    "mask leads out": (
        lambda data: change_line(data, mask_file_name="/etc/passwd"),
        "metadata.jsonl:2",
        "'mask_file_name': '/etc/passwd'",
    ),
    "no item": (lambda data: change_line(data, file_name="x"), "metadata.jsonl:2", "got 'x'"),
    "no name": (lambda data: change_line(data, file_name=3), "metadata.jsonl:2", "with file_name"),
    "bad JSON": (
        lambda data: (data / "metadata.jsonl").write_text(
            "\n".join([lines(data)[0], lines(data)[1][:30], lines(data)[2], ""])
        ),
        "metadata.jsonl:2",
        "expected a JSON object",
    ),
}  # fmt: skip


def test_a_whole_dataset_has_no_problem(data):
    before = contents(data)
    report = verify(data)
    assert report.problems == ()
    assert len(report.whole) == 3
    assert contents(data) == before


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_explained_and_set_aside_and_no_file_is_lost(data, case):
    spoil, where, message = BROKEN[case]
    spoil(data)
    before = contents(data)
    problems = verify(data).problems
    assert where in {problem.where for problem in problems}
    assert any(message in problem.message for problem in problems if problem.where == where)
    assert contents(data) == before

    report = repair(data)
    assert report.problems == problems
    assert [one.fields["index"] for one in report.whole] == [0, 2]
    assert [one.fields["index"] for one in read_records(data)] == [0, 2]
    assert verify(data).problems == ()
    after = contents(data)
    assert set(before.values()) <= set(after.values())
    assert not {IMAGE, MASK, MAPS} & {
        path for path in (IMAGE, MASK, MAPS) if os.path.lexists(data / path)
    }


def test_the_repaired_item_is_written_again(data):
    truncate(IMAGE)(data)
    repair(data)
    with open_store(data, {"seed": 0}, {"bird": 3}, {"n": 3}) as store:
        assert ONE not in store.records
        store.write(ONE, example(1), {"index": 1})
    assert verify(data).problems == ()


def test_missing_heat_maps_leave_the_item(data):
    (data / MAPS).unlink()
    (problem,) = verify(data).problems
    assert str(problem) == f"{MAPS}: expected a file, got none"
    assert len(repair(data).whole) == 3
    assert verify(data).problems == ()
    assert set(read_records(data)[1].fields["files"]) == {"image", "mask"}


def test_a_mask_that_was_mended_by_hand_is_taken_when_asked(data):
    mended = encode_class_map(np.full((2, 3), 3, np.uint8))
    (data / MASK).write_bytes(mended)
    assert len(verify(data).problems) == 1
    assert verify(data, accept=True).problems == ()
    repair(data, accept=True)
    assert verify(data).problems == ()
    assert (data / MASK).read_bytes() == mended
    assert len(read_records(data)) == 3


def test_a_mask_that_was_mended_by_hand_is_never_made_again(data):
    mended = encode_class_map(np.full((2, 3), 3, np.uint8))
    (data / MASK).write_bytes(mended)
    with open_store(data, {"seed": 0}, {"bird": 3}, {"n": 3}) as store:
        assert ONE in store.records
    assert (data / MASK).read_bytes() == mended


def test_files_without_a_line_and_lines_twice(data):
    (data / "images/holiday.png").write_bytes(b"x")
    (data / "masks/more").mkdir()
    with (data / "metadata.jsonl").open("a") as file:
        file.write(lines(data)[0] + "\n")
    assert list(map(str, verify(data).problems)) == [
        "metadata.jsonl:4: expected one line of Bird_000000, got another",
        "images/holiday.png: expected a line of metadata.jsonl that names it, got none",
        "masks/more: expected a line of metadata.jsonl that names it, got none",
    ]
    report = repair(data)
    assert len(report.whole) == 3
    assert verify(data).problems == ()
    assert report.quarantine == data / ".broken/0001"
    assert report.quarantine
    assert (report.quarantine / "images/holiday.png").read_bytes() == b"x"
    assert len((report.quarantine / "metadata.jsonl").read_text().splitlines()) == 4


def test_each_repair_has_a_folder_of_its_own(data):
    for _ in range(2):
        (data / "images/holiday.png").write_bytes(b"x")
        repair(data)
    assert len(list((data / ".broken").glob("*/images/holiday.png"))) == 2


def test_a_folder_without_checksums_is_read_and_gets_them_when_asked(data):
    records = [json.loads(line) for line in lines(data)]
    for record in records:
        del record["files"]
    (data / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    assert verify(data).problems == ()
    assert len(read_records(data)) == 3
    repair(data, accept=True)
    assert set(read_records(data)[0].fields["files"]) == {"image", "mask"}


def test_nothing_is_repaired_while_another_run_writes(data):
    with (
        open_store(data, {"seed": 0}, {"bird": 3}, {"n": 3}),
        pytest.raises(InputError, match="another run that writes"),
    ):
        repair(data)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=30) | st.sampled_from(["{}", "[" * 9999, '{"file_name": {}}'])))
def test_no_line_of_whatever_text_stops_the_check(data, texts):
    (data / "metadata.jsonl").write_text("\n".join(texts), "utf-8", errors="replace")
    assert verify(data).whole == ()
    assert read_records(data) == []


@settings(max_examples=15, deadline=None)
@given(drawn=st.data())
def test_whatever_is_cut_from_the_newest_files_no_half_item_is_read(
    tmp_path_factory, written, drawn
):
    """A power cut, simulated: any of the files of the last item, and the lines, end anywhere."""
    data = shutil.copytree(written, tmp_path_factory.mktemp("cut") / "data")
    whole = contents(data)
    last = [f"images/{NAMES[2]}.png", f"masks/{NAMES[2]}.png", f"maps/{NAMES[2]}.safetensors"]
    for path in drawn.draw(st.lists(st.sampled_from(last), unique=True)):
        size = drawn.draw(st.integers(0, len(whole[path])), path)
        (data / path).write_bytes(whole[path][:size])
    line = len(lines(data)[2]) + 1
    size = len(whole["metadata.jsonl"]) - drawn.draw(st.integers(0, line), "line")
    (data / "metadata.jsonl").write_bytes(whole["metadata.jsonl"][:size])

    for record in read_records(data):
        for path in ("file_name", "mask_file_name"):
            assert (data / record.fields[path]).read_bytes() == whole[record.fields[path]]
    write(data)
    assert {p: c for p, c in contents(data).items() if not p.startswith(".broken")} == whole


def test_the_command_tells_by_its_exit_code(data, tmp_path):
    whole = call("verify", data)
    assert (whole.exit_code, whole.stdout) == (0, f"3 whole items in {data}, nothing wrong\n")
    truncate(IMAGE)(data)
    (data / MASK).unlink()
    broken = call("verify", data)
    assert broken.exit_code == 1
    assert len(broken.stdout.splitlines()) == 3
    assert broken.stdout.endswith("2 problems; a repair sets aside what is broken\n")
    assert call("verify", data, "--repair").exit_code == 0
    assert call("verify", data).exit_code == 0
    nothing = call("verify", tmp_path)
    assert nothing.exit_code == 2
    assert nothing.stderr.startswith("diffumask: expected a dataset with")
