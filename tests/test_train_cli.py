"""`diffumask train` from options to a network that evaluate reads; resuming; what it refuses."""

import importlib
import json
from functools import partial

import commands
import labelled_folders as folders
import numpy as np
import pytest
from commands import call, done
from formats_data import class_maps, dataset
from labelled_folders import filled

import diffumask
from diffumask.api.train import TrainOptions
from diffumask.augment.compose import AugmentSettings
from diffumask.errors import InputError
from diffumask.formats.items import select
from diffumask.formats.registry import FORMATS
from diffumask.labelled.class_tables import known_values
from diffumask.labelled.mapping import ClassSelection
from diffumask.models import load_segmenter
from diffumask.segmentation.training_pairs import AugmentedPairs, InMemory, Where, open_sources

SIZE_HW = (40, 48)
QUICK = ["--size", "32x40", "--steps", 2, "--batch-size", 2, "--device", "cpu", "--workers", 0]


LEAST = ("--model", "upernet-tiny", *QUICK)
train = partial(commands.call, "train", *LEAST)
refused = partial(commands.refused, "train", *LEAST)


@pytest.fixture
def data(tmp_path):
    return folders.voc(tmp_path / "voc", filled(3), filled(8))


def run(data, out, **options):
    quick = {"size": "32x40", "steps": 4, "batch_size": 2, "device": "cpu", "workers": 0}
    chosen = {"data": data, "model": "upernet-tiny", "out": out} | quick | options
    return diffumask.train.run(TrainOptions(**chosen))


def test_a_trained_network_is_read_by_evaluate(data, tmp_path):
    out = tmp_path / "out"
    before = folders.files(data)
    words = [data, "-o", out, "--split", "train", "--val-split", "val"]
    result = train(*words, "--class", "bird", "--class", "cat")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("trained on 1 image, 3 labels named by layout voc; the net")
    assert "mIoU 0." in result.stdout
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [one["step"] for one in log if "miou" in one] == [1, 2]
    assert "background" in done("evaluate", "--data", data, "--checkpoint", out)
    assert folders.files(data) == before
    kinds = {path.suffix for path in out.iterdir() if not path.name.startswith(".")}
    assert kinds == {".json", ".jsonl", ".safetensors", ".toml"}


def test_validation_and_evaluate_agree_on_a_network(tmp_path):
    ids, size_hw = np.array([0, 3, 8, 254], np.uint8), (45, 70)
    maps = {
        f"Bird_{i:06d}": ids[np.random.default_rng(i).integers(4, size=size_hw)] for i in range(4)
    }
    data = dataset(tmp_path / "data", maps)
    for image in (data / "images").iterdir():
        folders.write_image(image, size_hw)
    words = ["-o", tmp_path / "out", "--model", "segformer-tiny", "--learning-rate", 1e-4, *QUICK]
    trained = call("train", data, "--val", data, *words, "--seed", 2, "--json")
    assert trained.exit_code == 0, trained.output
    words = ["--data", data, "--checkpoint", tmp_path / "out", "--device", "cpu", "--json"]
    evaluated = call("evaluate", *words)
    assert evaluated.exit_code == 0, evaluated.output
    miou = json.loads(evaluated.stdout)["miou"]
    assert miou > 0.1
    assert round(miou, 5) == json.loads(trained.stdout)["miou"]


def test_named_folders_of_black_and_white_masks_are_learned_from(tmp_path):
    shown = np.zeros(SIZE_HW, np.uint8)
    shown[8:30, 8:30] = 255
    folders.plain(tmp_path, shown, shown, "photos", "labels")
    (tmp_path / "labels" / "classes.json").write_text('{"bird": 1}')
    place = ["--images", tmp_path / "photos", "--masks", tmp_path / "labels"]
    val = ["--val-images", tmp_path / "photos", "--val-masks", tmp_path / "labels"]
    assert "masks in black and white" not in refused(*place, "-o", tmp_path / "labels" / "x")
    result = train(*place, *val, "-o", tmp_path / "out", "--map", "255=1", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["labels"], told["class_names"]) == (["background", "bird"], "classes.json")
    assert told["miou"] is not None
    (tmp_path / "labels" / "classes.json").unlink()
    assert "map 255 to a class id" in refused(*place, "-o", tmp_path / "other")
    assert "images beside one of masks" in refused(*place[:2], "-o", tmp_path / "other")
    assert "got both or neither" in refused("-o", tmp_path / "other")


@pytest.mark.parametrize("format_name", ["coco", "hf"])
def test_exports_with_all_masks_in_one_file_are_learned_from(tmp_path, format_name):
    data = dataset(tmp_path / "data", class_maps(6, (32, 40)))
    (tmp_path / "out").mkdir()
    FORMATS[format_name].write(select(data, 0.5), tmp_path / "out", False)
    (opened,) = open_sources([Where(tmp_path / "out", split="train")], ClassSelection())
    kept = InMemory([opened])
    assert 0 < len(kept) < 6
    for index, one in enumerate(opened):
        pair = kept[index]
        assert np.array_equal(pair.class_map % 255, class_maps(6, (32, 40))[one.name] % 255)
        assert pair.image.shape == (32, 40, 3)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(data, tmp_path, monkeypatch):
    run(data, tmp_path / "whole", checkpoint_every=2, val_split="val")
    module = importlib.import_module("diffumask.segmentation.fitting")
    made, make = [], module.make_batch

    def cut_power(*arguments):
        made.append(1)
        if len(made) == 4:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(module, "make_batch", cut_power)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "cut", checkpoint_every=2, val_split="val")
    run(data, tmp_path / "cut", checkpoint_every=2, val_split="val")
    assert len(made) == 6  # steps 0, 1, 2, 3 of which the last failed, and 2, 3 once more
    for name in ("model.safetensors", "config.json", "train.json", "preprocessor_config.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_training_that_is_not_told_for_how_long_goes_by_its_images_and_its_validation(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr("diffumask.api.training_length.LEAST_STEPS", 6)
    monkeypatch.setattr("diffumask.training.waiting.WAITED_STEPS", 1)
    monkeypatch.setattr("diffumask.training.waiting.WAITS", 1)
    monkeypatch.setattr("diffumask.segmentation.training.mean_iou", lambda *_: 0.25)
    out = tmp_path / "out"
    options = {"steps": None, "batch_size": 60, "split": "train", "val_split": "val"}
    first = run(data, out, checkpoint_every=1, **options)
    begun = json.loads((out / "train.json").read_text())
    settings = begun["settings"]
    assert (settings["num_steps"], settings["until_plateau"]) == (6, True)
    # no better than at step 1 from step 2 on, so that the rate falls from there
    assert begun["num_steps"] == 4
    assert first.facts["step"] == 1
    assert run(data, out, checkpoint_every=1, **options) == first


def test_a_training_with_its_length_told_takes_it_exactly(data, tmp_path):
    run(data, tmp_path / "out")
    begun = json.loads((tmp_path / "out" / "train.json").read_text())
    settings = begun["settings"]
    assert (settings["num_steps"], settings["until_plateau"], begun["num_steps"]) == (4, False, 4)


def test_a_finished_training_is_left_as_it_is(data, tmp_path):
    out = tmp_path / "out"
    first = run(data, out)
    before = folders.files(out)
    assert run(data, out) == first
    assert folders.files(out) == before


def test_other_settings_are_refused_by_name(data, tmp_path):
    out = tmp_path / "out"
    run(data, out)
    before = folders.files(out)
    with pytest.raises(InputError, match=r"another num_steps \(4, now 5\), seed \(0, now 1\)"):
        run(data, out, steps=5, seed=1, checkpoint_every=1)
    with pytest.raises(InputError, match="another classes"):
        run(data, out, classes=["bird"])
    with pytest.raises(InputError, match="another images"):
        run(data, out, split="train")
    run(data, out, workers=1)  # on which nothing depends
    assert folders.files(out) == before


def test_a_folder_of_something_else_is_refused(data, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    assert "with 'diary.txt' in it" in refused(data, "-o", tmp_path / "notes")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.json").write_text("{}")
    assert "train.json of diffumask train, got another" in refused(data, "-o", tmp_path / "other")
    (tmp_path / "file").write_text("mine")
    assert "got the file" in refused(data, "-o", tmp_path / "file")
    assert "a network outside of" in refused(data, "-o", data / "network")


def test_folders_are_mixed_by_the_names_of_classes(data, tmp_path):
    made = folders.native(tmp_path / "made", filled(3), filled(8))
    out = tmp_path / "out"
    result = train(made, "-o", out, "--also", data, "--also-split", "train")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("trained on 3 images, 3 labels")
    network, preparation = load_segmenter(str(out), "cpu")
    assert network.config.id2label == {0: "background", 1: "bird", 2: "cat"}
    assert preparation["size"] == {"shortest_edge": 32}


def test_classes_without_names_are_those_that_occur(tmp_path):
    data = folders.plain(tmp_path / "data", filled(0), filled(7))
    result = train(data, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    network, _ = load_segmenter(str(tmp_path / "out"), "cpu")
    assert network.config.id2label == {0: "background", 1: "7"}
    empty = folders.plain(tmp_path / "empty", filled(0), filled(0))
    assert "a class in the masks" in refused(empty, "-o", tmp_path / "other")


def test_a_class_with_id_0_is_learned_without_background(tmp_path):
    data = folders.camvid(tmp_path / "data", filled(0), filled(3))
    result = train(data, "-o", tmp_path / "out", "--val-split", "val")
    assert result.exit_code == 0, result.output
    network, _ = load_segmenter(str(tmp_path / "out"), "cpu")
    names = network.config.id2label or {}
    assert list(names.values()) == list((known_values("camvid").names or {}).values())


def test_dropped_items_are_left_out_unless_all_are_wanted(tmp_path):
    data = folders.native(tmp_path / "data", filled(3), filled(8))
    lines = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    for line, verdict in zip(lines, ("kept", "dropped"), strict=True):
        line["verdict"] = verdict
    (data / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (kept,) = open_sources([Where(data)], ClassSelection())
    assert [pair.name for pair in kept.pairs] == ["Bird_000000"]
    (every,) = open_sources([Where(data)], ClassSelection(), with_dropped=True)
    assert len(every) == 2
    for line in lines:
        line["verdict"] = "dropped"
    (data / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "got none but dropped" in refused(data, "-o", tmp_path / "out")
    assert train(data, "-o", tmp_path / "out", "--all").exit_code == 0


def test_augmented_pairs_are_as_many_as_wanted_and_the_same_each_time(tmp_path):
    data = folders.native(tmp_path / "data", filled(3, SIZE_HW), filled(8, SIZE_HW))
    for image in sorted((data / "images").glob("*.png")):
        folders.write_image(image, SIZE_HW)
    opened = open_sources([Where(data)], ClassSelection())
    pairs = AugmentedPairs(InMemory(opened), AugmentSettings(size_hw=(32, 40)), 0, 9)
    assert len(pairs) == 9
    first, again = pairs[7], pairs[7]
    assert first.size_hw == (32, 40)
    assert (first.image == again.image).all()
    assert not (first.image == pairs[6].image).all()
    result = train(data, "-o", tmp_path / "out", "--augment")
    assert result.exit_code == 0, result.output


def test_images_in_memory_are_those_of_the_files(data, monkeypatch):
    opened = open_sources([Where(data), Where(data, split="val")], ClassSelection())
    kept = InMemory(opened)
    monkeypatch.setattr("diffumask.segmentation.training_pairs.KEPT_BYTES", 0)
    for images in (kept, InMemory(opened)):
        assert len(images) == 3
        for index, (source, place) in enumerate([(0, 0), (0, 1), (1, 0)]):
            for _ in range(2):
                assert (images[index].image == opened[source][place].image).all()
        with pytest.raises(IndexError, match="below 3"):
            images[3]
    assert [values.tolist() for values in kept.values()] == [[3, 255], [8, 255], [8, 255]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--steps", 0], "num_steps of 1 or more"),
        (["--batch-size", 0], "batch_size of 1 or more"),
        (["--gradient-accumulation", 0], "gradient_accumulation_steps of 1 or more"),
        (["--learning-rate", 0], "a learning rate above 0"),
        (["--size", "32"], "a size as HEIGHTxWIDTH"),
        (["--size", "8x8"], "32x32 pixels or more"),
        (["--precision", "int8"], "one of auto, float32"),
        (["--model", "unet"], "one of upernet-tiny"),
        (["--class", "unicorn"], "one of the classes"),
        (["--split", "test"], "a split"),
        (["--val-split", "test"], "a split"),
        (["--layout", "tfds"], "the layout auto or one of"),
        (["--ignore-value", 300], "in 0..255"),
        (["--checkpoint-every", 0], "checkpoint_every of 1 or more"),
        (["--workers", -1], "num_workers of 0 or more"),
        (["--val", "nowhere"], "got 'nowhere', which is not there"),
        (["--device", "abacus"], "a device of this machine"),
    ],
)
def test_bad_options_are_refused_in_one_line(data, tmp_path, options, expected):
    assert expected in refused(data, "-o", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def _other_size(data):
    folders.write_mask(data / "SegmentationClass" / "2008_000002.png", filled(3, (4, 8)))


def _in_colours(data):
    colours = np.zeros((5, 8, 3), np.uint8)
    folders.PillowImage.fromarray(colours).save(data / "SegmentationClass" / "2008_000002.png")


def _unknown_label(data):
    folders.write_mask(data / "SegmentationClass" / "2008_000002.png", filled(77))


def _torn_mask(data):
    path = data / "SegmentationClass" / "2008_000002.png"
    path.write_bytes(path.read_bytes()[:50])


def _torn_image(data):
    path = data / "JPEGImages" / "2008_000002.jpg"
    path.write_bytes(path.read_bytes()[:200])


def _no_masks(data):
    for path in (data / "SegmentationClass").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_other_size, "expected a mask of 5x8 pixels"),
        (_in_colours, "RGB"),
        (_unknown_label, "got 77"),
        (_torn_mask, "expected a whole image file"),
        (_torn_image, "expected a whole image file"),
        (_no_masks, "expected masks as PNG"),
    ],
)
def test_bad_data_is_refused_before_anything_is_written(data, tmp_path, spoil, expected):
    spoil(data)
    before = folders.files(tmp_path)
    assert expected in refused(data, "-o", tmp_path / "out")
    assert folders.files(tmp_path) == before


def test_no_folder_and_an_empty_one_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "got" in refused(tmp_path / "nowhere", "-o", tmp_path / "out")
    assert "with nothing" in refused(tmp_path / "empty", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
