"""SAM as a refiner, on a small model with random weights."""

import json

import numpy as np
import pytest
import torch
from transformers import SamConfig, SamModel

from diffumask.errors import InputError
from diffumask.masks.refine import find_refiner, from_labels, refine
from diffumask.masks.refine.sam import _prompt, load_sam
from diffumask.models import load_sam_model

pytestmark = pytest.mark.numeric

SIZE_HW = (20, 28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "window_size": 2,
            "global_attn_indexes": [0],
            "num_pos_feats": 8,
            "mlp_dim": 16,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": 32,
            "patch_size": 8,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    model = SamModel(config)
    for weights in model.parameters():  # far larger than at the start of a training: see the masks
        torch.nn.init.normal_(weights, std=0.5)
    path = tmp_path_factory.mktemp("sam")
    model.save_pretrained(path)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)


def planes_of_boxes():
    labels = np.zeros((3, *SIZE_HW), int)
    labels[0, 4:12, 5:20] = 1
    labels[1, 2:18, 2:9] = 2
    labels[1, 3:5, 20:24] = 1
    return from_labels(labels, 3, 0.9)


def test_gives_probabilities_of_the_same_shape(folder, image):
    given = planes_of_boxes()
    refined = refine(f"sam:{folder}", image, given)
    assert refined.shape == given.shape
    assert refined.dtype == np.float32
    assert np.isfinite(refined).all()
    np.testing.assert_allclose(refined.sum(1), 1, atol=1e-5)
    assert len(np.unique(refined[0, 1].round(4))) > 10


def test_absent_label_stays_absent(folder, image):
    refined = refine(f"sam:{folder}", image, planes_of_boxes())
    assert refined[0, 2].max() < 1e-6
    assert refined[2, 0].min() > 0.999


def test_candidates_do_not_see_each_other(folder, image):
    """Prompts go through in batches, but each plane is that of its own prompt."""
    given, refiner = planes_of_boxes(), load_sam(folder)
    together = refiner(image, given)
    for index in range(len(given)):
        np.testing.assert_allclose(
            together[index], refiner(image, given[index : index + 1])[0], atol=1e-5
        )


def test_one_model_serves_many_images(folder):
    assert find_refiner(f"sam:{folder}") is find_refiner(f"sam:{folder}")


def test_a_model_is_on_the_device_that_was_asked_for(folder, image, monkeypatch):
    asked = []

    def loaded(folder, device, kind):
        asked.append(device)
        return load_sam_model(folder, "cpu", kind)

    monkeypatch.setattr("diffumask.masks.refine.sam.load_sam_model", loaded)
    for device in ("cuda:1", "cuda:1", "cpu"):
        refine(f"sam:{folder}", image, planes_of_boxes(), device)
    assert asked == ["cuda:1", "cpu"]


def test_prompt_is_the_box_and_the_deepest_pixel():
    mask = np.zeros((9, 14), bool)
    mask[2:7, 3:8] = True
    mask[4, 8:12] = True
    box, point = _prompt(mask)
    assert box.tolist() == [3, 2, 12, 7]
    assert point.tolist() == [5.5, 4.5]
    assert _prompt(np.ones((5, 7), bool))[1][1] == 2.5


def test_bad_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        load_sam(tmp_path / "missing")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(InputError, match="whole SAM"):
        load_sam(tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="whole SAM"):
        load_sam(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), "utf-8")
    with pytest.raises(InputError, match="type 'sam'"):
        load_sam(tmp_path)
