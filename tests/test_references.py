import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.numpy import load_file, save_file
from transformers import SegformerForSemanticSegmentation

from diffumask.attention.running_means import Attention
from diffumask.calibration.cases import Case, Combination, gather
from diffumask.calibration.references import Known, find_reference
from diffumask.calibration.sampled import combinations
from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.segmentation.predict import label_maps
from diffumask.segmentation.preprocessing import Preprocessing
from diffumask.segmentation.segmenter import label_ids, pretrained
from diffumask.types import Target

pytestmark = pytest.mark.numeric

BIRD = Target("bird", "bird", 3)
KNOWN = Known({"bird": 3, "cat": 8}, {"bird": ("fowl",)}, frozenset({"Bird_000000", "Cat_000001"}))
IMAGE = np.random.default_rng(0).integers(256, size=(32, 48, 3), dtype=np.uint8)


def case(image=IMAGE, heats=(), affinity=None):
    return Case("Bird_000000", BIRD, image, [(Combination(), heat) for heat in heats], affinity)


def small(heats=(), affinity=None):
    return case(np.zeros((2, 3, 3), np.uint8), heats, affinity)


def truth_of(reference, one):
    """The answer of a reference that has one."""
    truth = reference(one)
    assert truth is not None
    return truth


def test_the_affinity_is_cut_at_one_half():
    judge = find_reference("affinity", KNOWN)
    affinity = np.array([[0.2, 0.5, 0.6], [1, 0, 0]], np.float32)
    assert truth_of(judge, small(affinity=affinity)).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(InputError, match="affinity of Bird_000000, got none; generate with"):
        judge(small())


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
    found = gather([small([heat, 1 - heat])] * 4, lambda _: next(answers), ["bird", "cat"])
    assert found.left_out == {"bird": 1, "cat": 0}
    assert [one["bird"].shape for one in found.curves] == [(2, 91), (2, 91)]
    assert found.curves[0]["bird"].max() == 1
    assert found.curves[1]["bird"].max() < 0.3
    assert found.curves[0]["cat"].shape == (0, 91)


def test_combinations_differ_from_the_default_in_one_thing():
    attention, positions = Attention(), torch.zeros(1, 1, dtype=torch.long)
    for side, factor in ((64, 1), (32, 2), (16, 4), (8, 8)):
        attention.grid((side, side), factor, positions)
    default, *others = combinations(attention)
    assert default == Combination()
    assert [one.heat for one in others if one.heat != default.heat] != []
    assert {one.merge for one in others} == {"mean", "max", "first", "last"}
    grids = [tuple(one.weights) for one in others if one.weights]
    assert len(grids) == len(set(grids)) == 9  # runs of neighbours but the default's
    assert (1, 2) in grids
    assert (1, 2, 4) not in grids
    assert (1, 4) not in grids
    for one in others:
        assert sum(getattr(one, key) != getattr(default, key) for key in one.__slots__) == 1
