"""Augmented dataset folders, the command and the torch dataset."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch.utils.data import DataLoader

from diffumask.augment.compose import AugmentSettings
from diffumask.augment.dataset import AugmentedDataset
from diffumask.augment.folder import scene_prompt
from diffumask.dataset.annotate import annotate
from diffumask.dataset.dataset import Dataset
from diffumask.dataset.decode import read_example
from diffumask.dataset.encode import to_line
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.dataset.store import open_store
from diffumask.errors import InputError
from diffumask.types import Example, Prompt, Target

done = partial(commands.done, "augment")
refused = partial(commands.refused, "augment")
contents = partial(commands.contents, but=(".lock", "config.toml"))  # which names the folder

BIRD, CAT = Target("duck", "bird", 3), Target("cat", "cat", 8)


def example(target: Target, seed: int) -> Example:
    rng = np.random.default_rng(seed)
    image = rng.integers(256, size=(24, 32, 3), dtype=np.uint8)
    class_map = np.zeros((24, 32), np.uint8)
    class_map[6:18, 4:20] = target.class_id
    class_map[6:18, 20:22] = 255
    prompt = Prompt(f"a photo of a {target.word}", (target,), target.word, "on grass")
    return Example(prompt, seed, image, class_map, {"area": 1.0})


ITEMS = {
    "Bird_000000": example(BIRD, 0),
    "Bird_000001": example(BIRD, 1),
    "Cat_000000": example(CAT, 2),
}


def dataset(folder: Path, items: dict[str, Example]) -> Path:
    settings = {"model": "none", "keep_maps": True}
    with open_store(folder, settings, {"bird": 3, "cat": 8}, {}) as store:
        for name, one in items.items():
            store.write(name, one, {})
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return dataset(tmp_path / "data", ITEMS)


def test_a_dataset_is_written_that_tells_its_sources(data: Path, tmp_path: Path) -> None:
    before, out = contents(data), tmp_path / "out"
    assert done(data, "-o", out, "--n", 5, "--size", "20x36") == (
        f"5 items in {out}; look at {out / 'preview.jpg'}\n"
    )
    assert contents(data) == before
    records = read_records(out)
    assert [one.name for one in records] == [f"Augmented_{i:06d}" for i in range(5)]
    for index, record in enumerate(records):
        made = read_example(out, record)
        assert made.image.shape == (20, 36, 3)
        assert set(np.unique(made.class_map)) <= {0, 3, 8, 255}
        assert record.fields["sources"][0] == list(ITEMS)[index % 3]
        texts = dict.fromkeys(ITEMS[name].prompt.text for name in record.fields["sources"])
        assert record.fields["prompt"] == " | ".join(texts)
        assert {one["class_id"] for one in record.fields["targets"]} >= set(
            np.unique(made.class_map)
        ) - {
            0,
            255,
        }
    assert any(len(one.fields["operations"]) > 1 for one in records)
    run_of = read_run(out)
    assert run_of.classes == {"bird": 3, "cat": 8}
    assert run_of.settings["augment_size_hw"] == [20, 36]
    assert run_of.settings["keep_maps"] is False
    for name, share in AugmentSettings().shares().items():  # the command's defaults are the same
        assert run_of.settings[f"augment_{name}"] == share
    assert run_of.runs == ({"augmented_of": str(data)},)
    assert (out / "preview.jpg").exists()


def test_a_stopped_run_goes_on_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done(data, "-o", whole, "--n", 6)
    done(data, "-o", parts, "--n", 4)
    listed = (parts / "metadata.jsonl").read_text().splitlines(keepends=True)
    (parts / "metadata.jsonl").write_text("".join(listed[1:3]) + listed[3][:20])  # as if killed
    done(data, "-o", parts, "--n", 6)
    assert contents(parts) == contents(whole)
    line = refused(data, "-o", parts, "--n", 6, "--blur", 0.9)
    assert "another augment_blur (0.3, now 0.9)" in line
    assert contents(parts) == contents(whole)


def test_without_n_there_are_as_many_items_as_in_the_source(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    none = (f"--{name}=0" for name in ("splice", "copy-paste", "perspective", "blur", "occlude"))
    done(data, "-o", out, *none)
    for record, (name, one) in zip(read_records(out), ITEMS.items(), strict=True):
        made = read_example(out, record)
        assert (made.image == one.image).all()
        assert (made.class_map == one.class_map).all()
        assert made.prompt == one.prompt
        assert (
            record.fields["sources"],
            record.fields["operations"],
            record.fields["foreground"],
        ) == ([name], [], 0.25)


def test_one_item_suffices(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", {"Cat_000000": ITEMS["Cat_000000"]})
    done(data, "-o", tmp_path / "out", "--n", 2, "--splice", 1, "--copy-paste", 0)
    assert {record.fields["class"] for record in read_records(tmp_path / "out")} == {"cat"}


def test_bad_options_and_folders_are_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "new folder outside of" in refused(data, "-o", data)
    assert "new folder outside of" in refused(data, "-o", data / "inside")
    assert "n of 1 or more, got 0" in refused(data, "-o", out, "--n", 0)
    assert "a size as HEIGHTxWIDTH" in refused(data, "-o", out, "--size", "big")
    assert "sides of 1 to 8192 px" in refused(data, "-o", out, "--size", "0x5")
    assert "expected blur in [0, 1], got 2" in refused(data, "-o", out, "--blur", 2)
    assert "expected a dataset with" in refused(tmp_path, "-o", tmp_path.with_name("other"))
    empty = dataset(tmp_path / "empty", {})
    assert f"expected items in {empty}, got none" in refused(empty, "-o", out)
    assert not out.exists()


def greyscale(path: Path) -> None:
    PillowImage.new("L", (32, 24)).save(path)


def rgb(path: Path) -> None:
    PillowImage.new("RGB", (32, 24)).save(path)


def smaller(path: Path) -> None:
    PillowImage.new("P", (32, 23)).save(path)


def unknown_label(path: Path) -> None:
    PillowImage.fromarray(np.full((24, 32), 17, np.uint8)).save(path)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def no_png(path: Path) -> None:
    path.write_text("hello\nworld")


def without_checksums(data: Path) -> None:
    """Make the folder one of before there were any, in which torn files are listed."""
    records = [record.changed({"files": {}}) for record in read_records(data)]
    (data / "metadata.jsonl").write_text("".join(map(to_line, records)))


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize(
    ("folder", "spoil", "message"),
    [
        ("images", greyscale, "expected an RGB image in"),
        ("images", torn, "expected a whole PNG file"),
        ("images", no_png, "expected a whole PNG file"),
        ("masks", no_png, "expected a whole PNG file"),
        ("masks", rgb, "one 8-bit label a pixel of"),
        ("masks", smaller, "24 x 32 x 3 of uint8, got 23 x 32 of uint8"),
        ("masks", unknown_label, "expected labels 0, 3, 8, 255 in"),
    ],
)
def test_a_bad_item_is_refused_before_anything_is_made(
    data: Path, tmp_path: Path, name: str, folder: str, spoil, message: str
) -> None:
    without_checksums(data)
    spoil(data / folder / f"{name}.png")
    before = contents(tmp_path)
    assert message in refused(data, "-o", tmp_path / "out")
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_line_without_targets_is_refused(data: Path, tmp_path: Path) -> None:
    lines = (data / "metadata.jsonl").read_text().replace('"targets"', '"words"')
    (data / "metadata.jsonl").write_text(lines)
    assert "as 'targets', got none in the line of Bird_000000 in" in refused(
        data, "-o", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_a_scene_names_the_classes_it_shows() -> None:
    bird, cat = ITEMS["Bird_000000"].prompt, ITEMS["Cat_000000"].prompt
    only_cat = np.array([[0, 8, 255]], np.uint8)
    both = np.array([[8, 3, 3]], np.uint8)
    nothing = np.array([[0, 255, 0]], np.uint8)
    text = "a photo of a duck | a photo of a cat"
    assert scene_prompt([bird, cat, bird], both) == Prompt(text, (BIRD, CAT), "", "on grass")
    assert scene_prompt([bird, cat], only_cat).targets == (CAT,)
    assert scene_prompt([bird, cat], nothing).targets == (BIRD,)
    goose = Prompt("a goose", (Target("goose", "bird", 3),))
    assert scene_prompt([bird, goose], both).targets == (BIRD,)


def test_epoch_0_is_what_the_command_writes(data: Path, tmp_path: Path) -> None:
    done(data, "-o", tmp_path / "out", "--n", 4, "--seed", 7)
    augmented = AugmentedDataset(Dataset.open(data), seed=7, length=4)
    items = [augmented[index] for index in range(4)]
    records = read_records(tmp_path / "out")
    for (image, class_map), record in zip(items, records, strict=True):
        made = read_example(tmp_path / "out", record)
        assert (image.shape, image.dtype) == ((3, 24, 32), torch.float32)
        assert class_map.dtype == torch.int64
        assert (np.rint(image.permute(1, 2, 0).numpy() * 255) == made.image).all()
        assert (class_map.numpy() == made.class_map).all()


def test_workers_make_the_same_items_in_every_epoch(data: Path) -> None:
    augmented = AugmentedDataset(Dataset.open(data), AugmentSettings(size_hw=(16, 20)), length=6)
    loader = DataLoader(augmented, batch_size=4, num_workers=1, persistent_workers=True)
    drawn = []
    for epoch in range(2):
        augmented.set_epoch(epoch)
        images = torch.cat([image for image, _ in loader])
        assert (images == torch.stack([augmented[index][0] for index in range(6)])).all()
        drawn.append(images)
    assert (drawn[0] != drawn[1]).any()
    assert len(augmented) == 6
    with pytest.raises(IndexError):
        augmented[6]
    with pytest.raises(InputError, match="length of 1 or more"):
        AugmentedDataset(Dataset.open(data), length=0)


def test_the_record_is_plain_json(data: Path, tmp_path: Path) -> None:
    done(data, "-o", tmp_path / "out", "--n", 2)
    for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert {"index", "sources", "operations", "foreground", "seed"} <= set(record)
        assert record["scores"] == {}


def test_the_code_on_augmentation_runs(data: Path) -> None:
    page = Path(__file__).parent.parent / "docs" / "augment.md"
    names: dict[str, Any] = {"folder": data}
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        exec(block, names)
    assert names["images"].shape[1:] == (3, 48, 64)
    assert names["made"].pair.size_hw == (48, 64)


def test_items_that_were_dropped_are_left_out(data: Path, tmp_path: Path) -> None:
    annotate(data, {"Bird_000000": {"verdict": "dropped"}, "Cat_000000": {"verdict": "kept"}})
    done(data, "-o", tmp_path / "out")
    records = read_records(tmp_path / "out")
    assert [one.fields["sources"][0] for one in records] == ["Bird_000001", "Cat_000000"]
    assert "Bird_000000" not in {name for one in records for name in one.fields["sources"]}
    done(data, "-o", tmp_path / "all", "--all")
    assert [one.fields["sources"][0] for one in read_records(tmp_path / "all")] == list(ITEMS)
    annotate(data, {name: {"verdict": "dropped"} for name in ITEMS})
    assert "that are not dropped, got none" in refused(data, "-o", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_that_was_cut_short_is_refused(data: Path, tmp_path: Path) -> None:
    name = next(iter(ITEMS))
    torn(data / "images" / f"{name}.png")
    line = refused(data, "-o", tmp_path / "out")
    assert f"{name}.png cut short" in line
    assert f"diffumask verify {data}" in line
    assert not (tmp_path / "out").exists()
