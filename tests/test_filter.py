"""The filter command: verdicts on the folder, what is kept of the networks, views and reports."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from jaxtyping import Float32
from PIL import Image as PillowImage
from torch import nn

from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.dataset.store import open_store
from diffumask.gallery.marks import dataset_fingerprint
from diffumask.noise import crossval
from diffumask.segmentation import Labels, Network
from diffumask.types import Example, Image, Prompt, Target

QUICK = ("--steps", 5)
call = partial(commands.call, "filter", *QUICK)
done = partial(commands.done, "filter", *QUICK)
refused = partial(commands.refused, "filter", *QUICK)
contents = partial(commands.contents, but=(".lock",))

IDS = {"bird": 3, "cat": 8}
SETTINGS = {"model": "none", "keep_maps": True}
HEIGHT, WIDTH = 32, 48
LEFT_COLUMNS = {"Bird": (8, 7, 6, 5, 8, 8), "Cat": (8, 4, 8, 8, 8, 8)}  # of 8, that a mask keeps


def example(class_name: str, columns: int, seed: int = 0, stability: float = 1.0) -> Example:
    """An object of eight columns, painted as its class id, whose mask has the first of them."""
    class_id = IDS[class_name]
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[2:10, 4:12] = class_id
    class_map = np.zeros((HEIGHT, WIDTH), np.uint8)
    class_map[2:10, 4 : 4 + columns] = class_id
    class_map[0] = 255
    prompt = Prompt(f"a photo of a {class_name}", (Target(class_name, class_name, class_id),))
    return Example(prompt, seed, image, class_map, {"stability": stability})


def write(folder: Path, items: dict[str, Example]) -> Path:
    with open_store(folder, SETTINGS, IDS, {}) as store:
        for name, one in items.items():
            store.write(name, one, {"index": 0}, maps=b"maps")
    return folder


def items() -> dict[str, Example]:
    return {
        f"{stem}_{index:06d}": example(stem.lower(), columns, index)
        for stem, of_class in LEFT_COLUMNS.items()
        for index, columns in enumerate(of_class)
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", items())


class Networks:
    """Stands for the networks: what is painted is predicted, and trainings are counted."""

    def __init__(self) -> None:
        self.trained: list[list[str]] = []
        self.stop_at: int | None = None

    def new_network(self, model: str, labels: Labels, seed: int, device: str) -> Network:
        return Network(nn.Identity(), labels)

    def save_network(self, network: Any, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, network: Any, pairs: Any, settings: Any, folder: Path, on_step: Any) -> None:
        if len(self.trained) == self.stop_at:
            raise KeyboardInterrupt
        assert settings.num_steps == 5
        assert all(pairs[i].image.shape == (HEIGHT, WIDTH, 3) for i in range(len(pairs)))
        records = pairs.source.records
        self.trained.append([records[position].name for position in pairs.positions])
        on_step(5, 5)

    def class_probabilities(
        self, network: Any, images: Sequence[Image]
    ) -> list[Float32[np.ndarray, "c h w"]]:
        labels = [network.labels.encode(np.ascontiguousarray(image[..., 0])) for image in images]
        return [(np.arange(3)[:, None, None] == one).astype(np.float32) for one in labels]


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Networks:
    fake = Networks()
    for name in ("new_network", "save_network", "fit", "class_probabilities"):
        monkeypatch.setattr(crossval, name, getattr(fake, name))
    return fake


def dropped(folder: Path) -> set[str]:
    return {one.name for one in read_records(folder) if one.fields["verdict"] == "dropped"}


def test_every_item_gets_a_verdict_and_nothing_is_lost(data: Path, networks: Networks) -> None:
    before = contents(data)
    text = done(data, "--alpha", "0.34")
    assert text.splitlines()[:2] == ["12 items, 12 eligible, 8 kept", "dropped: iou 4"]
    assert dropped(data) == {"Bird_000002", "Bird_000003", "Cat_000000", "Cat_000001"}
    records = {record.name: record for record in read_records(data)}
    worst = records["Bird_000003"]
    assert worst.fields["quality"] == pytest.approx(5 / 8)
    assert worst.fields["quality_by_class"] == {"bird": worst.fields["quality"]}
    assert worst.fields["reason"] == "iou 0.625 is in the lowest 34 % of bird"
    assert (records["Cat_000002"].fields["verdict"], records["Cat_000002"].fields["quality"]) == (
        "kept",
        1.0,
    )
    after = contents(data)
    assert {name: after[name] for name in before if name != "metadata.jsonl"} == {
        name: content for name, content in before.items() if name != "metadata.jsonl"
    }


def test_each_network_is_trained_on_the_other_folds(data: Path, networks: Networks) -> None:
    done(data, "--folds", 3)
    unseen = [set(items()) - set(names) for names in networks.trained]
    assert len(unseen) == 3
    assert set.union(*unseen) == set(items())
    assert [len(names) for names in unseen] == [4, 4, 4]


def test_another_rule_trains_nothing(data: Path, tmp_path: Path, networks: Networks) -> None:
    done(data)
    first = len(networks.trained)
    done(data, "--alpha", 0.5)
    assert len(dropped(data)) == 6
    done(data, "--min-iou", 0.7)
    assert dropped(data) == {"Bird_000003", "Cat_000001"}
    (tmp_path / "cuts.toml").write_text("bird = 0.8\ncat = 0.1\n")
    done(data, "--cutoffs", tmp_path / "cuts.toml")
    assert dropped(data) == {"Bird_000002", "Bird_000003"}
    (tmp_path / "cuts.toml").write_text("bird = 0.8\n")
    assert "cut-off for cat" in refused(data, "--cutoffs", tmp_path / "cuts.toml")
    done(data, "--cutoffs", tmp_path / "cuts.toml", "--min-iou", 0.6)
    assert dropped(data) == {"Bird_000002", "Bird_000003", "Cat_000001"}
    pytest.importorskip("cleanlab")
    done(data, "--method", "confident-learning", "--alpha", 0.17)  # predicts, but does not train
    assert dropped(data) == {"Bird_000003", "Cat_000001"}
    assert len(networks.trained) == first


def test_other_masks_and_other_settings_train_anew(data: Path, networks: Networks) -> None:
    done(data)
    done(data, "--seed", 1)
    assert len(networks.trained) == 6
    write(data, {"Bird_000000": example("bird", 2)})
    done(data, "--alpha", 0.17)
    assert len(networks.trained) == 9
    assert dropped(data) == {"Bird_000000", "Cat_000001"}


def test_a_stopped_run_goes_on_after_the_folds_that_are_done(
    data: Path, tmp_path: Path, networks: Networks
) -> None:
    before = contents(data)
    networks.stop_at = 2
    assert call(data).exit_code == 130
    unchanged = contents(data)
    assert {name: unchanged[name] for name in before} == before
    networks.stop_at = None
    done(data)
    assert len(networks.trained) == 3
    whole = write(tmp_path / "whole", items())
    done(whole)
    assert (whole / "metadata.jsonl").read_text() == (data / "metadata.jsonl").read_text()
    assert contents(whole / "filter") == contents(data / "filter")


def test_gated_items_neither_train_nor_count(data: Path, networks: Networks) -> None:
    write(
        data,
        {
            "Bird_000000": example("bird", 8, stability=0.2),
            "Cat_000000": example("cat", 0),
            "Cat_000002": example("cat", 1),
        },
    )
    text = done(data, "--min-score", "stability=0.5", "--area", "0.01..0.9", "--alpha", 0.25)
    assert text.splitlines()[:2] == [
        "12 items, 9 eligible, 7 kept",
        "dropped: iou 2, score stability 1, empty mask 1, area 1",
    ]
    gated = {"Bird_000000", "Cat_000000", "Cat_000002"}
    assert dropped(data) == gated | {"Bird_000003", "Cat_000001"}
    assert not gated & {name for names in networks.trained for name in names}
    record = next(one for one in read_records(data) if one.name == "Bird_000000")
    assert (record.fields["reason"], record.fields["quality"]) == (
        "score stability 0.2 below 0.5",
        None,
    )


def test_a_view_has_the_kept_items_and_says_of_what(
    data: Path, tmp_path: Path, networks: Networks
) -> None:
    out = tmp_path / "view"
    assert f"8 items in {out}" in done(data, "--alpha", 0.34, "--apply", out)
    records = read_records(out)
    assert {one.name for one in records} == set(items()) - dropped(data)
    for record in records:
        made = items()[record.name]
        assert (read_example(out, record).class_map == made.class_map).all()
        assert record.fields["verdict"] == "kept"
        own, other = ((folder / record.fields["file_name"]).stat() for folder in (out, data))
        assert own.st_ino == other.st_ino
    assert len(list((out / "maps").iterdir())) == 8
    found = read_run(out)
    assert found.classes == IDS
    assert found.runs == ({"filtered_of": str(data), "source_items": 12},)
    assert {"model": "none", "filter_alpha": 0.34, "filter_method": "iou"}.items() <= (
        found.settings.items()
    )
    same = contents(out)
    done(data, "--alpha", 0.34, "--apply", out)
    assert contents(out) == same
    assert "another filter_alpha" in refused(data, "--alpha", 0.5, "--apply", out)
    assert contents(out) == same
    assert "outside of" in refused(data, "--apply", data / "inside")


@pytest.mark.parametrize("suffix", [".html", ".png"])
def test_a_report_shows_the_worst_first(
    data: Path, tmp_path: Path, networks: Networks, suffix: str
) -> None:
    path = tmp_path / f"report{suffix}"
    done(data, "--alpha", 0.34, "--report", path, "--report-items", 3)
    first = path.read_bytes()
    done(data, "--alpha", 0.34, "--report", path, "--report-items", 3)  # over its own report
    assert path.read_bytes() == first
    if suffix == ".png":
        with PillowImage.open(path) as picture:
            assert min(picture.size) > 100
    else:
        text = first.decode()
        shown = re.findall(r"<b>(\w+)</b>", text)
        assert shown[:3] == ["Cat_000001", "Bird_000003", "Bird_000002"]
        assert "Dropped by iou: 3 of 4" in text
        assert text.count("data:image/jpeg;base64,") == 3 * len(shown) == 18
        assert not re.search(r"(src|href)=\"(?!data:)", text)
    path.write_text("mine")
    assert "expected a free name or a report of" in refused(data, "--report", path)
    assert path.read_text() == "mine"
    assert "FILE.html or FILE.png" in refused(data, "--report", tmp_path / "report.pdf")


def test_names_are_escaped_in_a_report(tmp_path: Path, networks: Networks) -> None:
    data = write(tmp_path / "<b>bold", items())
    done(data, "--report", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--alpha", 1), "alpha in [0, 1), got 1"),
        (("--alpha", 0.3, "--min-iou", 0.5), "either alpha or cut-offs"),
        (("--min-iou", 2), "cut-off in [0, 1], got 2.0"),
        (("--min-iou", 0.5, "--method", "confident-learning"), "a lowest IoU with the method iou"),
        (("--method", "dice"), "method iou or confident-learning"),
        (("--min-score", "stability"), "a score NAME=VALUE"),
        (("--min-score", "beauty=0.5"), "expected the score 'beauty' of Bird_000000"),
        (("--min-score", "stability=2"), "expected items of"),
        (("--area", "0.1"), "an area LOW..HIGH"),
        (("--area", "0.9..0.1"), "area range in 0..1"),
        (("--folds", 1), "expected 2 folds or more, got 1"),
        (("--folds", 7), "expected 7 items or more of bird for 7 folds, got 6"),
        (("--report-items", 0), "report-items of 1 or more, got 0"),
    ],
)
def test_bad_options_are_refused(
    data: Path, networks: Networks, words: Sequence[object], message: str
) -> None:
    before = contents(data)
    assert message in refused(data, *words)
    assert contents(data) == before
    assert networks.trained == []


def test_empty_and_one_item_folders_are_refused(tmp_path: Path, networks: Networks) -> None:
    empty = write(tmp_path / "empty", {})
    assert f"expected items in {empty}, got none" in refused(empty)
    one = write(tmp_path / "one", {"Bird_000000": example("bird", 8)})
    assert "expected 3 items or more of bird for 3 folds, got 1" in refused(one)
    assert "expected a dataset with" in refused(tmp_path)


def rgb(path: Path) -> None:
    PillowImage.new("RGB", (WIDTH, HEIGHT)).save(path)


def wider(path: Path) -> None:
    PillowImage.new("P", (WIDTH + 1, HEIGHT), 3).save(path)


def unknown_label(path: Path) -> None:
    PillowImage.fromarray(np.full((HEIGHT, WIDTH), 17, np.uint8)).save(path)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("folder", "spoil", "message"),
    [
        ("masks", rgb, "a pixel"),
        ("masks", wider, "one 8-bit label a pixel of the image"),
        ("masks", unknown_label, "expected labels 0, 3, 8, 255"),
        ("masks", torn, "expected a whole"),
        ("images", torn, "expected a whole"),
    ],
)
@pytest.mark.parametrize("name", ["Bird_000000", "Cat_000003"])
def test_bad_files_are_refused_before_anything_is_written(
    data: Path, networks: Networks, folder: str, spoil: Any, message: str, name: str
) -> None:
    lines = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    bare = [{key: one[key] for key in one if key != "files"} for one in lines]  # as of old
    (data / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in bare))
    spoil(data / folder / f"{name}.png")
    before = contents(data)
    assert message in refused(data)
    assert contents(data) == before
    assert networks.trained == []


def test_a_real_network_judges_the_same_again(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, items()) for name in ("first", "second"))
    for folder in (first, second):
        done(folder, "--folds", 2, "--batch-size", 2)
    assert (first / "metadata.jsonl").read_text() == (second / "metadata.jsonl").read_text()
    done(first, "--folds", 2, "--batch-size", 2, "--method", "confident-learning")
    for record in read_records(first):
        assert 0 < record.fields["quality"] < 1


def write_marks(path: Path, marks: dict[str, str]) -> Path:
    content = {"format": 1, "made_by": "diffumask show", "marks": marks}
    path.write_text(json.dumps(content | {"dataset": dataset_fingerprint(SETTINGS)}))
    return path


def test_what_was_decided_by_hand_stands_above_the_networks(
    data: Path, tmp_path: Path, networks: Networks
) -> None:
    by_hand = {"Bird_000003": "accepted", "Cat_000002": "rejected"}
    marks = write_marks(tmp_path / "marks.json", by_hand)
    text = done(data, "--alpha", "0.17", "--marks", marks, "--apply", tmp_path / "kept")
    assert "rejected by hand 1" in text
    assert dropped(data) == {"Cat_000001", "Cat_000002"}
    records = {record.name: record for record in read_records(data)}
    assert records["Bird_000003"].fields["quality"] == pytest.approx(5 / 8)
    assert records["Bird_000003"].fields["reason"] == "accepted by hand"
    assert records["Cat_000002"].fields["reason"] == "rejected by hand"
    assert {one.name for one in read_records(tmp_path / "kept")} == (set(items()) - dropped(data))


def test_marks_alone_train_nothing(data: Path, tmp_path: Path, networks: Networks) -> None:
    marks = write_marks(tmp_path / "marks.json", {"Bird_000000": "rejected"})
    text = done(data, "--marks", marks, "--marks-only")
    assert "0 items kept and 1 dropped by hand" in text
    assert networks.trained == []
    verdicts = {one.name: one.verdict for one in read_records(data)}
    assert verdicts == {**dict.fromkeys(items()), "Bird_000000": "dropped"}
    assert "a file of marks" in refused(data, "--marks-only")
    more = ("--marks", marks, "--marks-only", "--apply", tmp_path / "kept")
    assert "neither a new dataset nor a report" in refused(data, *more)


def test_marks_of_another_dataset_change_nothing(
    data: Path, tmp_path: Path, networks: Networks
) -> None:
    marks = write_marks(tmp_path / "marks.json", {"Dog_000000": "rejected"})
    before = contents(data)
    assert "'Dog_000000'" in refused(data, "--marks", marks)
    assert contents(data) == before
