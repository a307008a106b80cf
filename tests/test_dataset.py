"""A dataset as Python sees it: a sequence of items, a torch dataset, a picture in a notebook."""

import io
import json
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import diffumask
from diffumask.api.dataset import Dataset, open_dataset
from diffumask.augment.compose import AugmentSettings
from diffumask.dataset.annotate import annotate
from diffumask.dataset.maps import encode_maps
from diffumask.dataset.store import open_store
from diffumask.draw import GUTTER_PX
from diffumask.errors import InputError
from diffumask.gallery.marks import dataset_fingerprint
from diffumask.types import Example, Prompt, Sample, Target

HOSTILE = 'a <script>alert("bird")</script> & a bird'


def example(index: int, text: str = "a photo of a bird", height: int = 6) -> Example:
    image = np.random.default_rng(index).integers(256, size=(height, 8, 3), dtype=np.uint8)
    class_map = np.zeros((height, 8), np.uint8)
    class_map[1:4, 2:5] = 3
    prompt = Prompt(text, (Target("bird", "bird", 3),))
    return Example(prompt, index, image, class_map, {"stability": 0.5})


def write(folder: Path, examples: list[Example]) -> Path:
    with open_store(folder, {"model": "none"}, {"bird": 3}) as store:
        for index, one in enumerate(examples):
            store.write(f"Bird_{index:06d}", one, {})
    return folder


@pytest.fixture
def birds(tmp_path: Path) -> Dataset:
    return open_dataset(write(tmp_path / "birds", [example(index) for index in range(5)]))


class Tags(HTMLParser):
    """Lists the elements of a page and the sources of its pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]


def test_an_item_is_what_was_written(birds: Dataset) -> None:
    assert len(birds) == 5
    first, written = birds[0], example(0)
    assert (first.image == written.image).all()
    assert (first.mask == written.class_map).all()
    assert (first.name, first.prompt, first.class_name) == (
        "Bird_000000",
        "a photo of a bird",
        "bird",
    )
    assert (first.scores, first.heats, first.record.seed) == ({"stability": 0.5}, {}, 0)
    assert first.image_file == birds.folder / "images/Bird_000000.png"
    assert (birds.classes, birds.settings) == ({"bird": 3}, {"model": "none"})


def test_items_are_counted_from_both_ends_and_sliced(birds: Dataset) -> None:
    names = [item.name for item in birds]
    assert names == [f"Bird_{index:06d}" for index in range(5)]
    assert birds[-1].name == birds[np.int64(4)].name == names[4]
    assert [item.name for item in birds[1:4][::-1]] == names[3:0:-1]
    assert (birds[1:4][-1].image == example(3).image).all()
    for index in (5, -6):
        with pytest.raises(IndexError):
            birds[index]


def test_heat_maps_are_those_that_were_kept(tmp_path: Path) -> None:
    one, heat = example(0), np.array([[0, 1], [0.2, 0.4]], np.float32)
    maps = encode_maps(Sample(one.prompt, one.seed, one.image, {"bird": heat}))
    with open_store(tmp_path, {}, {"bird": 3}) as store:
        store.write("Bird_000000", one, {}, maps)
    heats = open_dataset(tmp_path)[0].heats
    assert heats.keys() == {"bird"}
    assert np.array_equal(heats["bird"], heat)


def test_opening_reads_no_picture_and_a_damaged_one_is_named_once_it_is_read(
    birds: Dataset,
) -> None:
    path = birds[1].image_file
    path.write_bytes(b"x" * path.stat().st_size)
    damaged = open_dataset(birds.folder)
    assert damaged[0].image.shape == (6, 8, 3)
    with pytest.raises(InputError, match=f"expected a whole PNG file, got {re.escape(str(path))}"):
        _ = damaged[1].mask
    page = damaged._repr_html_()
    assert Tags(page).names.count("img") == 4
    assert f"got {path}" in page
    assert damaged[1]._repr_png_() is None
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cut short"):
        open_dataset(birds.folder)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a dataset with .*run\.json"):
        open_dataset(tmp_path)


def test_dropped_items_are_left_out_unless_asked_for(birds: Dataset) -> None:
    annotate(birds.folder, {"Bird_000002": {"verdict": "dropped"}})
    assert len(birds) == 5  # as it was when it was opened
    assert [item.name[-1] for item in open_dataset(birds.folder)] == ["0", "1", "3", "4"]
    assert len(open_dataset(birds.folder, with_dropped=True)) == 5


def test_an_empty_dataset_can_be_looked_at_but_not_trained_on(tmp_path: Path) -> None:
    empty = open_dataset(write(tmp_path / "birds", []))
    assert (len(empty), list(empty), len(empty[:3])) == (0, [], 0)
    assert "0 items of bird" in empty._repr_html_()
    assert empty._repr_png_() is None
    with pytest.raises(InputError, match="got none; generate some first"):
        empty.to_torch()
    with pytest.raises(IndexError):
        empty[0]


def test_it_can_be_sent_to_another_process(birds: Dataset) -> None:
    _ = birds[0].image
    other = pickle.loads(pickle.dumps(birds[1:]))
    assert (other[0].image == birds[1].image).all()
    assert (pickle.loads(pickle.dumps(birds[1])).image == birds[1].image).all()
    with pytest.raises(ValueError, match="read-only"):
        other[0].mask[0, 0] = 3


def test_torch_gets_the_items_as_they_are_or_new_scenes(birds: Dataset) -> None:
    plain = birds[1:3].to_torch()
    image, class_map = plain[1]
    assert len(plain) == 2
    assert (image.dtype, image.shape) == (torch.float32, (3, 6, 8))
    assert (class_map.dtype, class_map.shape) == (torch.int64, (6, 8))
    assert (image.permute(1, 2, 0).numpy() * 255 == example(2).image).all()
    assert (class_map.numpy() == example(2).class_map).all()
    scenes = birds.to_torch(AugmentSettings(size_hw=(16, 20)), length=9)
    assert len(scenes) == 9
    assert scenes[8][0].shape == (3, 16, 20)


def test_a_notebook_shows_a_dozen_items_that_need_no_other_file(tmp_path: Path) -> None:
    sizes = (6, 9, 30)
    examples = [example(index, height=sizes[index % 3]) for index in range(30)]
    birds = open_dataset(write(tmp_path / "birds", examples))
    tags = Tags(birds._repr_html_())
    assert tags.names.count("img") == tags.names.count("td") == 12
    assert all(source.startswith("data:image/webp;base64,") for source in tags.sources)
    png = birds._repr_png_()
    assert png
    with PillowImage.open(io.BytesIO(png)) as sheet:
        assert sheet.width == 3 * (2 * 128 + GUTTER_PX) + GUTTER_PX


def test_a_notebook_shows_one_item(birds: Dataset) -> None:
    assert Tags(birds[0]._repr_html_()).names == [
        "div",
        "table",
        "tr",
        "td",
        "img",
        "br",
        "b",
        "br",
    ]
    png = birds[0]._repr_png_()
    assert png
    with PillowImage.open(io.BytesIO(png)) as picture:
        assert picture.mode == "RGB"


def test_names_and_prompts_of_others_are_shown_as_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "<b onload=x>", [example(0, HOSTILE)])
    path = folder / "images/Bird_000000.png"
    path.write_bytes(b"x" * path.stat().st_size)  # the error names the folder
    pages = open_dataset(folder)._repr_html_(), open_dataset(folder)[0]._repr_html_()
    for page in pages:
        assert not {"script", "img"} & set(Tags(page).names)
        assert "onload=x>" not in page
        assert "&lt;script&gt;" in page


def test_a_part_is_neither_shown_as_a_page_nor_exported(birds: Dataset, tmp_path: Path) -> None:
    for make in (birds[:2].show, lambda: birds[:2].export("coco", tmp_path / "coco")):
        with pytest.raises(InputError, match="expected a whole dataset, got 2 items of"):
            make()


def test_a_dataset_shows_itself_as_a_page(birds: Dataset, tmp_path: Path) -> None:
    assert birds.show() == tmp_path / "birds.html"
    page = birds.show(out=tmp_path / "small.html", items=2)
    assert page.read_text().count("Bird_00000") == 2


def test_a_dataset_is_exported_with_the_items_it_was_opened_with(
    birds: Dataset, tmp_path: Path
) -> None:
    annotate(birds.folder, {"Bird_000002": {"verdict": "dropped"}})
    kept, every = open_dataset(birds.folder), open_dataset(birds.folder, with_dropped=True)
    for dataset, out in ((kept, tmp_path / "kept"), (every, tmp_path / "every")):
        assert dataset.export("png", out, split=1.0) == out
        assert len(list(out.rglob("Bird_*.png"))) == 2 * len(dataset)


def test_use_cases_take_and_return_datasets(birds: Dataset, tmp_path: Path) -> None:
    merged = diffumask.merge(shards=[birds.folder], out=tmp_path / "merged")
    scenes = diffumask.augment_dataset(folder=str(merged.folder), out=tmp_path / "scenes", n=3)
    assert isinstance(merged, Dataset)
    assert isinstance(scenes, Dataset)
    assert [item.name for item in merged] == [item.name for item in birds]
    assert scenes[2].image.shape == birds[0].image.shape
    report = diffumask.verify(folder=merged.folder)
    assert (report.problems, len(report.whole)) == ((), 5)
    (merged.folder / "images/Bird_000003.png").unlink()
    (problem,) = diffumask.verify(folder=merged.folder).problems
    assert problem.where == "images/Bird_000003.png"


def test_a_filter_returns_verdicts_by_name(birds: Dataset, tmp_path: Path) -> None:
    marks = {
        "format": 1,
        "made_by": "diffumask show",
        "dataset": dataset_fingerprint(birds.settings),
        "marks": {"Bird_000001": "rejected", "Bird_000002": "accepted"},
    }
    path = tmp_path / "marks.json"
    path.write_text(json.dumps(marks))
    verdicts = diffumask.filter(folder=birds.folder, marks=path, marks_only=True)
    assert {name: verdict.is_kept for name, verdict in verdicts.items()} == {
        "Bird_000001": False,
        "Bird_000002": True,
    }
    assert verdicts["Bird_000001"].reason == "rejected by hand"
    assert len(open_dataset(birds.folder)) == 4
