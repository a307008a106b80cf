import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.numpy import load_file, save_file
from transformers import SegformerForSemanticSegmentation

from diffumask.attention.running_means import Attention
from diffumask.calibration.cases import Case, as_shipped, gather
from diffumask.calibration.file import Thresholds
from diffumask.calibration.fit import AUTO, THRESHOLDS, calibrate
from diffumask.calibration.references import Known, find_reference
from diffumask.calibration.sampled import settings_of
from diffumask.calibration.setting import Setting
from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.masks.class_map import make_class_map
from diffumask.masks.thresholds import Calibrated, Fixed
from diffumask.metrics import iou
from diffumask.segmentation.predict import label_maps
from diffumask.segmentation.preprocessing import Preprocessing
from diffumask.segmentation.segmenter import label_ids, pretrained
from diffumask.types import Prompt, Sample, Target

pytestmark = pytest.mark.numeric

BIRD = Target("bird", "bird", 3)
KNOWN = Known({"bird": 3, "cat": 8}, {"bird": ("fowl",)}, frozenset({"Bird_000000", "Cat_000001"}))
IMAGE = np.random.default_rng(0).integers(256, size=(32, 48, 3), dtype=np.uint8)


CAT = Target("cat", "cat", 8)
PLAIN = Setting(heat="attention", refiner="none", uncertain_band=0.0)


def case(image=IMAGE, heats=None, settings=(PLAIN,), target=BIRD):
    targets = tuple(one for one in (BIRD, CAT) if one.word in (heats or {"bird"}))
    prompt = Prompt("a bird and a cat", targets)
    sample = Sample(prompt, 0, image, heats or {})
    return Case("Bird_000000", target, [(setting, sample) for setting in settings])


def small(**more):
    return case(np.zeros((2, 3, 3), np.uint8), **more)


def truth_of(reference, one):
    """The answer of a reference that has one."""
    truth = reference(one)
    assert truth is not None
    return truth


def drawn(folder, values, name="Bird_000000", mode="L"):
    folder.mkdir(exist_ok=True)
    picture = PillowImage.fromarray(np.array(values, np.uint8))
    if mode == "P":
        picture.putpalette(voc_palette().tobytes())
    (picture if mode in "LP" else picture.convert(mode)).save(folder / f"{name}.png")
    return find_reference(f"masks:{folder}", KNOWN)


@pytest.mark.parametrize(
    ("values", "mode", "truth"),
    [
        ([[0, 255, 0], [0, 0, 255]], "L", [[0, 1, 0], [0, 0, 1]]),
        ([[0, 255, 0], [0, 0, 255]], "RGB", [[0, 1, 0], [0, 0, 1]]),
        ([[0, 255, 0], [0, 0, 255]], "1", [[0, 1, 0], [0, 0, 1]]),
        ([[0, 1, 0], [0, 0, 1]], "L", [[0, 1, 0], [0, 0, 1]]),
        ([[0, 3, 0], [8, 0, 255]], "L", [[0, 1, 0], [0, 0, 255]]),
        ([[0, 3, 0], [8, 0, 255]], "P", [[0, 1, 0], [0, 0, 255]]),
        ([[0, 8, 0], [8, 0, 255]], "P", [[0, 0, 0], [0, 0, 255]]),
        ([[0, 0, 0], [0, 0, 0]], "L", [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_drawn_masks_are_black_and_white_or_class_ids(tmp_path, values, mode, truth):
    reference = drawn(tmp_path / "drawn", values, mode=mode)
    assert truth_of(reference, small()).tolist() == truth


def test_drawn_masks_are_found_by_name_in_the_folder_or_its_masks(tmp_path):
    judge = drawn(tmp_path, [[255, 0, 0], [0, 0, 0]], "Cat_000001")
    assert judge(small()) is None
    (tmp_path / "masks").mkdir()
    (tmp_path / "Cat_000001.png").rename(tmp_path / "masks" / "Bird_000000.png")
    assert truth_of(find_reference(f"masks:{tmp_path}", KNOWN), small()).sum() == 1


def test_drawn_masks_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected masks NAME.png in .*, got none"):
        find_reference(f"masks:{tmp_path / 'missing'}", KNOWN)
    with pytest.raises(InputError, match=r"named after images of the dataset, got .*Bird_7.png"):
        drawn(tmp_path / "strange", [[0, 255, 0]], "Bird_7")
    with pytest.raises(InputError, match=r"mask of 2x3 pixels, got .* of 1x3"):
        drawn(tmp_path / "short", [[0, 255, 0]])(small())
    with pytest.raises(InputError, match=r"with 137; save it as PNG without smooth edges"):
        drawn(tmp_path / "smooth", [[0, 137, 0], [0, 0, 255]])(small())
    broken = drawn(tmp_path / "broken", [[0, 255, 0], [0, 0, 0]])
    (tmp_path / "broken" / "Bird_000000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="expected a whole PNG file"):
        broken(small())


def test_a_network_judges_by_its_labels(segmenter_folder):
    network = SegformerForSemanticSegmentation.from_pretrained(segmenter_folder).eval()
    pixels = torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        logits = network(pixel_values=pixels).logits
    enlarged = torch.nn.functional.interpolate(logits, (32, 48), mode="bilinear")
    expected = (enlarged[0].argmax(0) == 1).numpy()
    assert 0 < expected.mean() < 1
    shown = truth_of(find_reference(f"transformers:{segmenter_folder}", KNOWN), case())
    assert np.array_equal(shown, expected.astype(np.uint8))


def test_labels_are_found_by_any_name_of_the_class():
    labels = {0: "wall", 1: "fowl, Bird", 2: "potted-plant", 5: "bird"}
    assert label_ids(labels, ["bird"]) == [1, 5]
    assert label_ids(labels, ["flower", "Potted Plant"]) == [2]
    with pytest.raises(InputError, match="label for 'plant', got 4 others; near ones are 'potted-"):
        label_ids(labels, ["plant"])


def test_images_are_prepared_as_the_file_says():
    def prepare(config):
        return Preprocessing.from_json(config)(torch.ones(1, 3, 4, 6))

    assert prepare({}).unique().tolist() == [1]
    said = {"image_mean": [0.5, 0, 0], "image_std": [0.5, 1, 0.1]}
    assert prepare(said)[0, :, 0, 0].tolist() == pytest.approx([1, 1, 10])
    assert prepare({"do_normalize": False}).unique().tolist() == [1]
    for size, size_hw in (
        ({"height": 2, "width": 2}, (2, 2)),
        ({"shortest_edge": 8}, (8, 12)),
        (5, (5, 5)),
        (None, (4, 6)),
    ):
        assert prepare({"size": size}).shape[2:] == size_hw
    assert prepare({"size": 5, "do_resize": False}).shape[2:] == (4, 6)


def test_the_preprocessor_file_of_a_network_is_read(segmenter_folder, tmp_path):
    assert pretrained(str(segmenter_folder)).preprocessing == Preprocessing()
    folder = shutil.copytree(segmenter_folder, tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 16}))
    network = pretrained(str(folder))
    assert network.preprocessing == Preprocessing(size_hw=(16, 16))
    assert label_maps(network, [IMAGE])[0].shape == (32, 48)


def test_networks_that_are_not_whole_are_refused(segmenter_folder, tmp_path):
    folder = shutil.copytree(segmenter_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if key.startswith("decode_head.classifier"))
    weights.pop(name)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"expected all weights in .* got none for {name}"):
        pretrained(str(folder))
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(InputError, match="network in safetensors, got") as caught:
        pretrained(str(folder))
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="network in safetensors, got"):
        pretrained(str(folder))
    with pytest.raises(InputError, match=r"folder with config.json or a hub id"):
        pretrained(str(tmp_path))


def test_gathering_leaves_out_what_the_reference_does_not_show():
    heat = np.array([[1, 0.9, 0], [0, 0, 0]], np.float32)
    shown = np.array([[1, 1, 0], [0, 0, 255]], np.uint8)
    answers = iter([shown, None, np.zeros((2, 3), np.uint8), shown])
    settings = [PLAIN, replace(PLAIN, uncertain_band=0.3)]
    cases = [small(heats={"bird": heat}, settings=settings)] * 4
    found = gather(cases, lambda _: next(answers), ["bird", "cat"])
    assert found.settings == settings
    assert found.left_out == {"bird": 1, "cat": 0}
    assert [one["bird"].shape for one in found.curves] == [(2, 15), (2, 15)]
    assert found.curves[0]["bird"].tolist() == np.ones((2, 15)).tolist()
    # 0.9 less 0.65 is within the band, and what is left at 255 counts as not of the class
    assert found.curves[1]["bird"][0, 1 + int((THRESHOLDS == 0.65).argmax())] == 0.5
    assert found.curves[0]["cat"].shape == (0, 15)


def test_a_curve_is_of_masks_after_competition_refined_and_without_specks():
    rng = np.random.default_rng(0)
    heats = {word: rng.random((8, 12), np.float32) for word in ("bird", "cat")}
    truth = rng.integers(2, size=(32, 48), dtype=np.uint8)
    truth[:4] = 255
    setting = Setting(heat="attention", uncertain_band=0.05)
    one = case(heats=heats, settings=[setting])
    ((curve,),) = (of["bird"] for of in gather([one], lambda _: truth, ["bird"]).curves)
    for threshold, value in zip((None, *THRESHOLDS), curve, strict=True):
        method = Calibrated({"bird": threshold}.get, "")
        class_map = make_class_map(one.sample, replace(setting.masks, threshold=method)).class_map
        assert value == pytest.approx(iou((class_map == 3)[4:], truth[4:] > 0), abs=0.01)
    assert curve.max() > curve.min()


def test_memory_is_bounded_by_refining_a_few_at_a_time(monkeypatch):
    heats = {"bird": np.random.default_rng(0).random((8, 12), np.float32)}
    truth = np.ones((32, 48), np.uint8)
    one = case(heats=heats, settings=[PLAIN])
    whole = gather([one], lambda _: truth, ["bird"]).curves[0]["bird"]
    monkeypatch.setattr("diffumask.calibration.cases.PIXELS_AT_ONCE", 4 * 32 * 48)
    in_parts = gather([one], lambda _: truth, ["bird"]).curves[0]["bird"]
    assert in_parts.tolist() == whole.tolist()


def test_thresholds_of_several_classes_in_an_image_are_judged_together():
    rng = np.random.default_rng(0)
    heats = {word: rng.random((8, 12), np.float32) for word in ("bird", "cat")}
    truths = {"bird": np.eye(32, 48, dtype=np.uint8), "cat": np.ones((32, 48), np.uint8)}
    cases = [case(heats=heats, target=target) for target in (BIRD, CAT)]

    def look(one):
        return truths[one.target.class_name]

    curves = gather(cases, look, ["bird", "cat"]).curves[0]
    found = {name: replace(calibrate(curves[name]), threshold=0.1) for name in curves}
    table = Thresholds("tiny", "0" * 16, PLAIN, "masks:drawn", found)
    settings = replace(PLAIN.masks, threshold=Fixed(0.1))
    class_map = make_class_map(cases[0].sample, settings).class_map
    shipped = as_shipped(table, cases, look).classes
    assert shipped["bird"].iou == round(iou(class_map == 3, truths["bird"] > 0), 4)
    assert shipped["cat"].iou == round(iou(class_map == 8, truths["cat"] > 0), 4)
    assert curves["cat"][0, AUTO] != shipped["cat"].iou


def test_settings_of_new_attention_differ_from_the_default_in_one_thing():
    attention, positions = Attention(), torch.zeros(1, 1, dtype=torch.long)
    for side, factor in ((64, 1), (32, 2), (16, 4), (8, 8)):
        attention.grid((side, side), factor, positions)
    default, *others = settings_of(attention)
    assert default == Setting()
    assert {one.power for one in others} == {1, 2, 4}
    grids = [tuple(one.weights) for one in others if one.weights]
    assert len(grids) == len(set(grids)) == 9  # runs of neighbours but the default's
    assert (1, 2) in grids
    assert (1, 2, 4) not in grids
    assert (1, 4) not in grids
    for one in others:
        assert sum(getattr(one, key) != getattr(default, key) for key in one.__slots__) == 1
