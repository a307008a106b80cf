"""The page of `diffumask show` as text, and the marks that come back from it."""

import base64
import hashlib
import io
import json
import re
from functools import partial
from html.parser import HTMLParser

import commands
import numpy as np
import pytest
from gallery_folders import BIRD, CLASSES, SEED, SETTINGS, write_items
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage

from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import maps_path, read_maps
from diffumask.dataset.run import Run
from diffumask.draw import display_palette
from diffumask.errors import InputError
from diffumask.gallery.items import encode_mask, item_fields
from diffumask.gallery.marks import dataset_fingerprint, read_marks
from diffumask.gallery.page import SCRIPTS, render

PALETTE = display_palette(CLASSES.values())
HOSTILE = "a bird </script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> & ]]>"


class Page(HTMLParser):
    """The text of each script, style and title, and the policy."""

    def __init__(self, page):
        super().__init__()
        self.found, self.policy, self.tag = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""

    def handle_data(self, data):
        if self.tag in {"script", "style", "title"}:
            self.found.append((self.tag, data))
        self.tag = ""

    def texts(self, tag):
        return [text for found, text in self.found if found == tag]


def items_on(path):
    data, _ = Page(path.read_text("utf-8")).texts("script")
    return json.loads(data)["items"]


show = partial(commands.call, "show")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def item_of(folder, name, **more):
    (record,) = [one for one in read_records(folder) if name in one.fields["file_name"]]
    return fields_of(folder, record.changed(more))


def fields_of(folder, record, thumbnail_px=256, threshold_on="affinity"):
    return item_fields(folder, record, read_example(folder, record), thumbnail_px, threshold_on)


def run_of(**settings):
    return Run(SETTINGS | settings, CLASSES, ())


def decoded(uri):
    head, _, content = uri.partition(",")
    return head, PillowImage.open(io.BytesIO(base64.b64decode(content)))


def labels_of(runs):
    """The class ids of an encoded mask, in a row."""
    ids, lengths = np.frombuffer(base64.b64decode(runs), np.uint8).reshape(-1, 2).T
    return ids.repeat(lengths)


def draw_over(path):
    """Take half of the bird away."""
    picture = PillowImage.open(path)
    drawn = np.array(picture)
    drawn[2:9, 3:7] = 0
    changed = PillowImage.fromarray(drawn)
    changed.putpalette(picture.getpalette() or [])
    changed.save(path)


def marks_file(path, **changes):
    content = {
        "format": 1,
        "made_by": "diffumask show",
        "dataset": dataset_fingerprint(SETTINGS),
        "marks": {"Bird_000000": "rejected"},
    }
    path.write_text(json.dumps(content | changes))
    return path


@pytest.fixture
def folder(tmp_path):
    facts = {"verdict": "dropped", "reason": "iou 0.2 below 0.5", "quality": 0.2}
    return write_items(tmp_path / "birds", {"Bird_000000": facts, "Bird_000001": {}})


def test_an_item_has_what_the_page_shows(folder):
    item = item_of(folder, "Bird_000000")
    assert (item["verdict"], item["reason"]) == ("dropped", "iou 0.2 below 0.5")
    assert item["scores"] == {"quality": 0.2, "stability": 0.5, "foreground": 0.25}
    assert list(item["scores"]) == ["quality", "stability", "foreground"]
    assert dict(item["facts"])["seed"] == str(SEED)
    assert item["classes"] == {"bird": 3, "cat": 8}
    assert (item["width"], item["height"]) == (24, 16)
    head, picture = decoded(item["image"])
    assert (head, picture.size, picture.format) == ("data:image/webp;base64", (24, 16), "WEBP")


def test_the_page_says_why_an_object_has_no_mask(folder):
    item = item_of(folder, "Bird_000001", absent={"cat": "no pixel above the threshold"})
    assert item["facts"][0] == ("no mask of cat", "no pixel above the threshold")


def test_the_heat_map_is_the_one_that_had_the_threshold(folder):
    (record, _) = read_records(folder)
    for threshold_on, kept in zip(
        ("attention", "affinity"), read_maps(folder, record), strict=True
    ):
        for heat in fields_of(folder, record, threshold_on=threshold_on)["heats"]:
            cells = np.frombuffer(base64.b64decode(heat["cells"]), np.uint8).reshape(heat["grid"])
            np.testing.assert_array_equal((cells / 255).astype(np.float32), kept[heat["word"]])


def test_an_item_without_maps_has_no_heat(folder):
    (folder / maps_path("Bird_000001")).unlink()
    assert item_of(folder, "Bird_000001")["heats"] == []


def test_large_pictures_become_thumbnails(folder):
    (record, _) = read_records(folder)
    item = fields_of(folder, record, thumbnail_px=12)
    assert decoded(item["image"])[1].size == (12, 8) == (item["width"], item["height"])
    assert labels_of(item["mask"]).size == 12 * 8


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 600)), elements=st.integers(0, 2))
)
def test_a_mask_is_encoded_without_loss(class_map):
    np.testing.assert_array_equal(labels_of(encode_mask(class_map)), class_map.ravel())


@pytest.mark.parametrize("wrong", [float("nan"), "high", 10**400, True])
def test_a_score_that_is_no_number_is_refused(folder, wrong):
    with pytest.raises(InputError, match="expected a number as 'quality', got "):
        item_of(folder, "Bird_000001", quality=wrong)


def test_an_item_without_quality_has_no_such_score(folder):
    assert "quality" not in item_of(folder, "Bird_000001", quality=None)["scores"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"targets": 3}, "expected a list of objects as 'targets', got 3"),
        ({"scores": None}, "expected an object as 'scores', got None"),
        ({"thresholds": [0.1]}, "expected a threshold for each target of Bird_000001, got 1"),
        ({"prompt": "a dog"}, "expected 'bird' in the prompt, got 'a dog'"),
    ],
)
def test_a_damaged_record_is_refused(folder, more, message):
    with pytest.raises(InputError, match=message):
        item_of(folder, "Bird_000001", **more)


def test_the_page_shows_prompts_and_names_as_text(tmp_path):
    folder = write_items(tmp_path / "birds", {"Bird_000000": {}}, text=HOSTILE, targets=(BIRD,))
    items = [item_of(folder, "Bird_000000")]
    page = Page(render("<b>&", run_of(model="</title><script>"), items))
    data, script = page.texts("script")
    assert json.loads(data)["items"] == json.loads(json.dumps(items))
    assert base64.b64decode(json.loads(data)["colours"]) == PALETTE.tobytes()
    assert "alert" not in script
    assert page.texts("title") == ["<b>&"]


def test_the_page_may_load_nothing_and_run_only_its_own_script():
    page = Page(render("birds", run_of(), []))
    _, script = page.texts("script")
    (style,) = page.texts("style")
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|innerHTML|eval\(", script + style)
    assert len(SCRIPTS) > 5


def test_show_writes_a_page_beside_the_folder(folder):
    result = show(folder)
    assert result.exit_code == 0, result.output
    assert re.search(r"2 items in .*birds\.html \(0\.\d MB\)", result.stdout)
    before = folder.with_suffix(".html").read_text("utf-8")
    assert show(folder).exit_code == 0
    assert folder.with_suffix(".html").read_text("utf-8") == before


def test_show_picks_items_evenly(tmp_path):
    names = [f"Bird_{index:06d}" for index in range(5)]
    folder = write_items(tmp_path / "birds", {name: {} for name in names})
    assert "3 of 5 items" in show(folder, "-o", tmp_path / "page.html", "--items", 3).stdout
    assert [one["name"] for one in items_on(tmp_path / "page.html")] == [
        names[i] for i in (0, 2, 4)
    ]


def test_broken_items_are_on_the_page_with_the_reason(tmp_path):
    names = [f"Bird_{index:06d}" for index in range(3)]
    folder = write_items(tmp_path / "birds", {name: {} for name in names})
    (folder / "images/Bird_000000.png").unlink()
    mask = folder / "masks/Bird_000001.png"
    mask.write_bytes(mask.read_bytes()[:-20])
    text = commands.done("show", folder)
    assert "3 items in" in text
    assert "2 broken (Bird_000000, Bird_000001)" in text
    gone, cut, whole = items_on(folder.with_suffix(".html"))
    assert gone["broken"] == "images/Bird_000000.png is not there"
    assert cut["broken"] == "masks/Bird_000001.png is cut short"
    assert gone["prompt"] == "a bird and a cat"
    assert "broken" not in whole
    (folder / "images/Bird_000002.png").unlink()
    assert "without any" in commands.refused("show", folder)


def test_masks_of_two_datasets_are_on_one_page(folder, tmp_path):
    lines = {"Bird_000001": {"quality": 0.7}, "Bird_000002": {}, "Bird_000003": {}}
    other = write_items(tmp_path / "others", lines, first_seed=SEED + 1)
    draw_over(other / "masks/Bird_000001.png")
    (other / "images/Bird_000003.png").unlink()
    write_items(folder, {"Bird_000003": {}})
    commands.done("show", folder, "--against", other)
    first, both, beside, broken = items_on(folder.with_suffix(".html"))
    assert first["only"] == "this"
    assert "image" not in both["other"]  # it is the same one
    assert both["other"]["scores"]["quality"] == 0.7
    assert both["scores"]["iou"] == pytest.approx(0.5)
    assert (labels_of(both["mask"]) != labels_of(both["other"]["mask"])).sum() == 7 * 4
    assert beside["only"] == "other"
    assert "mask" not in beside
    assert beside["image"].startswith("data:image/webp")
    assert broken["other"] == {"broken": "images/Bird_000003.png is not there"}


def test_another_image_of_the_same_name_is_shown_too(folder, tmp_path):
    other = write_items(tmp_path / "others", {"Bird_000001": {}}, first_seed=5)
    commands.done("show", folder, "--against", other)
    _, both = items_on(folder.with_suffix(".html"))
    assert both["other"]["image"] != both["image"]


def test_datasets_that_number_a_class_differently_are_not_compared(folder, tmp_path):
    other = write_items(tmp_path / "others", {"Bird_000001": {}}, classes={"bird": 3, "cat": 9})
    line = commands.refused("show", folder, "--against", other)
    assert "expected datasets that give cat one id, got 8 in" in line


def test_a_page_opens_in_the_browser(folder, monkeypatch, caplog):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url))
    commands.done("show", folder, "--open")
    assert opened == [folder.with_suffix(".html").as_uri()]
    assert f"no browser was found to open {opened[0]}" in caplog.text


def test_no_folder_is_made_by_mistake(folder, tmp_path):
    line = commands.refused("show", folder, "-o", tmp_path / "nwe" / "page.html")
    assert f"expected a folder that is there, got {tmp_path / 'nwe'}; make it first" in line
    assert not (tmp_path / "nwe").exists()
    line = commands.refused("show", folder, "-o", tmp_path)
    assert line.endswith(f"expected a page named *.html, got {tmp_path}; name a file in it")
    (tmp_path / "folder.html").mkdir()
    assert "expected a free name" in commands.refused(
        "show", folder, "-o", tmp_path / "folder.html"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--items", "0"], "items of 1 or more"),
        (["--thumbnail-px", "5"], "thumbnails of 16..2048 px"),
        (["-o", "page.txt"], "a page named *.html"),
        (["--port", "8000"], "a page that is served, got port 8000 for a file"),
        (["--serve", "--port", "65536"], "a port of 0..65535"),
        (["--serve", "-o", "page.html"], "a page of all items that is served"),
        (["--serve", "--items", "3"], "a page of all items that is served"),
    ],
)
def test_wrong_options_are_one_line(folder, words, message):
    assert message in commands.refused("show", folder, *words)


def test_a_page_of_something_else_stays(folder):
    mine = folder.with_suffix(".html")
    mine.write_text("<p>my page")
    line = commands.refused("show", folder)
    assert "expected a free name or a page of diffumask show" in line
    assert mine.read_text() == "<p>my page"


def test_a_folder_of_something_else_is_one_line(tmp_path):
    assert "expected a dataset" in show(tmp_path).stderr
    with_nothing = write_items(tmp_path / "birds", {})
    assert "without any" in show(with_nothing).stderr


def test_marks_come_back(folder, tmp_path):
    marks = {"Bird_000000": "rejected", "Bird_000001": "accepted"}
    assert read_marks(marks_file(tmp_path / "marks.json", marks=marks), folder) == marks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "in format 1"),
        ({"made_by": "me"}, "marks of diffumask show"),
        ({"marks": ["Bird_000000"]}, "'accepted' or 'rejected'"),
        ({"marks": {"Bird_000000": "maybe"}}, "'accepted' or 'rejected'"),
        ({"marks": {"Bird_000000": ["rejected"]}}, "'accepted' or 'rejected'"),
        ({"marks": {"Bird_000009": "rejected"}}, "got one of 'Bird_000009'"),
        ({"marks": {"../Bird_000000": "rejected"}}, "got one of '../Bird_000000'"),
        ({"dataset": "0123456789abcdef"}, "those of a dataset of other settings"),
    ],
)
def test_other_marks_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_marks(marks_file(tmp_path / "marks.json", **changes), folder)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\x00", "[1]", "null"])
def test_a_file_that_is_no_marks_is_refused(folder, tmp_path, content):
    path = tmp_path / "marks.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"expected marks"):
        read_marks(path, folder)
    with pytest.raises(InputError, match="expected a file of marks"):
        read_marks(tmp_path / "none.json", folder)


@given(JSON, JSON)
def test_whatever_a_file_says_it_is_refused_in_one_line(tmp_path_factory, marks, dataset):
    folder = tmp_path_factory.mktemp("empty")
    path = marks_file(folder / "marks.json", marks=marks, dataset=dataset)
    with pytest.raises(InputError):
        read_marks(path, folder)
