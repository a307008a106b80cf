"""CLIPSeg, SAM, SAM 2 and SAM 3 as sources of masks, on small models with random weights."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from commands import call, done, refused
from safetensors.torch import save_file
from slow_reference import area_mean
from torch.nn import functional
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    Sam2Config,
    Sam2Model,
    Sam3Model,
    Sam3VideoConfig,
    Sam3VideoModel,
)

from diffumask.dataset.run import read_run
from diffumask.errors import InputError
from diffumask.masks.class_map import make_class_map
from diffumask.masks.prompted import MAKERS, find_prompted
from diffumask.masks.prompted.clipseg import ClipSegSource
from diffumask.masks.prompted.sam3 import LEAST_SCORE, Sam3Source
from diffumask.masks.refine import find_refiner, refine
from diffumask.masks.refine.planes import from_labels
from diffumask.masks.refine.sam import SamRefiner
from diffumask.masks.settings import MaskSettings
from diffumask.masks.source_name import PROMPTED, parse_source
from diffumask.types import Prompt, Sample, Target

pytestmark = pytest.mark.numeric

SIZE_HW = (20, 28)
WORDS = (Target("bird", "bird", 3), Target("cat", "cat", 8))


@pytest.fixture(scope="module")
def clipseg_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> Path:
    """Folder of a random CLIPSeg that reads 32 x 32 pixels."""
    torch.manual_seed(0)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPSegConfig(
        text_config={**width, **special, "vocab_size": len(tokenizer), "num_hidden_layers": 1},
        vision_config={**width, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    model = CLIPSegForImageSegmentation(config)
    for weights in model.parameters():  # far larger than at the start of a training
        torch.nn.init.normal_(weights, std=0.3)
    folder = tmp_path_factory.mktemp("clipseg")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random SAM 2 that reads 32 x 32 pixels."""
    torch.manual_seed(0)
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [32, 32],
                "window_positional_embedding_background_size": [2, 2],
                "window_size_per_stage": [4, 4, 4, 4],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[8, 8], [4, 4], [2, 2]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 32, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    model = Sam2Model(config)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    folder = tmp_path_factory.mktemp("sam2")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam3_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> Path:
    """Folder of a random SAM 3 as it is published, detector and tracker, of 56 x 56 pixels."""
    torch.manual_seed(0)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    layers = {**width, "num_layers": 1}
    vision = {
        "backbone_config": {
            **width,
            "model_type": "sam3_vit_model",
            "num_hidden_layers": 2,
            "image_size": 56,
            "window_size": 2,
            "global_attn_indexes": [1],
            "pretrain_image_size": 28,
        },
        "fpn_hidden_size": 16,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }
    text = {"num_hidden_layers": 1, "max_position_embeddings": 32, "projection_dim": 8}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Sam3VideoConfig(
        detector_config={
            "vision_config": vision,
            "text_config": {
                **(width | text | special),
                "model_type": "clip_text_model",
                "vocab_size": len(tokenizer),
            },
            "geometry_encoder_config": layers,
            "detr_encoder_config": layers,
            "detr_decoder_config": {**layers, "num_queries": 5},
            "mask_decoder_config": {"hidden_size": 16, "num_attention_heads": 2},
        },
        tracker_config={
            "vision_config": vision,
            "image_size": 56,
            "prompt_encoder_config": {
                "hidden_size": 16,
                "image_size": 56,
                "mask_input_channels": 4,
            },
            "mask_decoder_config": {
                "hidden_size": 16,
                "mlp_dim": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 16,
            },
            "memory_attention_hidden_size": 16,
            "memory_attention_feed_forward_hidden_size": 16,
            "memory_attention_num_layers": 1,
            "memory_encoder_hidden_size": 16,
            "memory_encoder_output_channels": 8,
            "mask_downsampler_embed_dim": 16,
            "memory_fuser_embed_dim": 16,
            "memory_fuser_intermediate_dim": 16,
            "memory_fuser_num_layers": 1,
        },
    )
    model = Sam3VideoModel(config)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    detector: Any = model.detector_model
    with torch.no_grad():  # so that something is found
        detector.detr_decoder.presence_head.layer3.bias.fill_(8)
        for projection in ("text_proj", "query_proj"):
            getattr(detector.dot_product_scoring, projection).bias.fill_(0.5)
    folder = tmp_path_factory.mktemp("sam3")
    config.save_pretrained(folder)
    # save_pretrained of transformers 5.23 names the tracker twice
    tensors = {name: one.clone() for name, one in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def sample() -> Sample:
    """A picture with a bird at the left, and a cat that attention does not see."""
    image = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    heat = np.zeros((5, 7), np.float32)
    heat[1:4, 1:4] = 1
    nothing = np.zeros_like(heat)
    return Sample(Prompt("a bird and a cat", WORDS), 0, image, {"bird": heat, "cat": nothing})


@pytest.fixture(params=["clipseg", "sam2", "sam3"])
def name(request: pytest.FixtureRequest) -> str:
    """A source with its folder."""
    return f"{request.param}:{request.getfixturevalue(f'{request.param}_folder')}"


def test_a_source_gives_probabilities_of_every_target(name: str, sample: Sample) -> None:
    objects = find_prompted(name, "cpu").source(sample)
    assert objects.shape == (4, *SIZE_HW)
    assert objects.dtype == np.float32
    np.testing.assert_allclose(objects.sum(0), 1, atol=1e-5)
    assert objects[-1].max() == 0  # of others than the targets it says nothing
    assert len(np.unique(objects[1].round(4))) > 10


def test_masks_are_made_of_a_source_alone_and_fused(name: str, sample: Sample) -> None:
    plain = make_class_map(sample, MaskSettings(heat="attention", refiner="none")).class_map
    for prefix in ("", "attention+"):
        source = find_prompted(prefix + name, "cpu")
        assert source.fused == bool(prefix)
        settings = MaskSettings(heat="attention", refiner="none", source=source)
        found = make_class_map(sample, settings).class_map
        assert set(np.unique(found)) <= {0, 3, 8, 255}
        assert not np.array_equal(found, plain)


def test_clipseg_is_asked_for_each_class_alone(clipseg_folder: Path, sample: Sample) -> None:
    source = find_prompted(f"clipseg:{clipseg_folder}", "cpu").source
    one = Sample(Prompt("a bird", WORDS[:1]), 0, sample.image, sample.heats)
    both, alone = source(sample), source(one)
    odds, odds_alone = both[1] / both[0], alone[1] / alone[0]
    np.testing.assert_allclose(odds, odds_alone, rtol=1e-3)
    assert not np.allclose(both[1], both[2])


def test_logits_between_the_pixels_of_a_smaller_image_count(
    clipseg_folder: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_prompted(f"clipseg:{clipseg_folder}", "cpu").source
    assert isinstance(source, ClipSegSource)
    logits = torch.randn(2, 60, 84, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(source.model, "forward", lambda **_: SimpleNamespace(logits=logits))
    objects = source(sample)
    averaged = area_mean(logits, SIZE_HW).numpy()
    np.testing.assert_allclose(np.log(objects[1:3] / objects[0]), averaged, atol=1e-4)


def test_sam2_sees_nothing_where_attention_shows_nothing(sam2_folder: Path, sample: Sample) -> None:
    objects = find_prompted(f"sam2:{sam2_folder}", "cpu").source(sample)
    assert objects[2].max() < 1e-6


def test_sam2_is_a_refiner_too(sam2_folder: Path, sample: Sample) -> None:
    labels = np.zeros((1, *SIZE_HW), int)
    labels[0, 4:12, 5:20] = 1
    refined = refine(f"sam2:{sam2_folder}", sample.image, from_labels(labels, 2, 0.9))
    np.testing.assert_allclose(refined.sum(1), 1, atol=1e-5)


def test_the_published_kind_of_sam2_is_read(
    sam2_folder: Path, tmp_path: Path, sample: Sample
) -> None:
    config = json.loads((sam2_folder / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    (tmp_path / "model.safetensors").write_bytes((sam2_folder / "model.safetensors").read_bytes())
    ours = find_prompted(f"sam2:{tmp_path}", "cpu").source(sample)
    np.testing.assert_array_equal(ours, find_prompted(f"sam2:{sam2_folder}", "cpu").source(sample))


def test_sam3_is_asked_for_each_class_as_transformers_asks_it(
    sam3_folder: Path, sample: Sample
) -> None:
    source = find_prompted(f"sam3:{sam3_folder}", "cpu").source
    assert isinstance(source, Sam3Source)
    model: Any = Sam3Model.from_pretrained(sam3_folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(sam3_folder)
    pixels = torch.from_numpy(cv2.resize(sample.image, (56, 56))).permute(2, 0, 1)[None] / 127.5 - 1
    found = source._instances(sample)
    for instances, target in zip(found, WORDS, strict=True):
        asked = tokenizer(
            target.class_name, padding="max_length", max_length=32, return_tensors="pt"
        )
        with torch.no_grad():
            made = model(pixel_values=pixels, **asked)
        scores = made.pred_logits.sigmoid()[0] * made.presence_logits.sigmoid()[0]
        there = scores >= LEAST_SCORE
        assert len(instances) == there.sum()
        for (score, mask), wanted, logits in zip(
            instances, scores[there], made.pred_masks[0, there], strict=True
        ):
            assert score == pytest.approx(wanted.item(), abs=1e-4)
            middle = functional.interpolate(logits[None, None], SIZE_HW, mode="bilinear")[0, 0]
            assert np.abs(mask - middle.sigmoid().numpy()).mean() < 0.1


def test_instances_of_sam3_are_merged_by_their_score(
    sam3_folder: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_prompted(f"sam3:{sam3_folder}", "cpu").source
    assert isinstance(source, Sam3Source)
    masks = torch.full((2, 3, *SIZE_HW), -9.0)
    masks[0, 0, :, :10], masks[0, 1, :, 8:14], masks[0, 2] = 9, 9, 9  # birds; the last is none
    masks[1, 0, :, 12:20] = 9  # a cat, surer than the second bird
    logits = torch.tensor([[4.0, 0.5, -4.0], [2.0, -4.0, -4.0]])
    answers = [
        SimpleNamespace(
            pred_masks=masks[[i]], pred_logits=logits[[i]], presence_logits=torch.tensor([[9.0]])
        )
        for i in (0, 1)
    ]
    monkeypatch.setattr(source.model, "forward", lambda **_: answers.pop(0))
    objects = source(sample)
    np.testing.assert_allclose(objects.sum(0), 1, atol=1e-6)
    expected = np.repeat([1, 2, 0], [12, 8, 8])
    np.testing.assert_array_equal(objects.argmax(0), np.tile(expected, (SIZE_HW[0], 1)))
    assert objects[:3].max(0).min() > 0.99


def test_a_class_that_sam3_does_not_find_has_no_pixel(
    sam3_folder: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_prompted(f"sam3:{sam3_folder}", "cpu")
    assert isinstance(source.source, Sam3Source)
    nothing = SimpleNamespace(
        pred_masks=torch.full((1, 3, 4, 4), 9.0),
        pred_logits=torch.full((1, 3), 9.0),
        presence_logits=torch.tensor([[-0.1]]),
    )
    monkeypatch.setattr(source.source.model, "forward", lambda **_: nothing)
    objects = source.source(sample)
    assert objects[0].min() == 1
    settings = MaskSettings(heat="attention", refiner="none", source=source)
    assert not make_class_map(sample, settings).class_map.any()


def test_the_tracker_of_sam3_is_a_refiner(sam3_folder: Path, sample: Sample) -> None:
    labels = np.zeros((2, *SIZE_HW), int)
    labels[0, 4:12, 5:20], labels[1, 2:18, 20:26] = 1, 2
    asked = from_labels(labels, 3, 0.9)
    refined = refine(f"sam3:{sam3_folder}", sample.image, asked, "cpu")
    np.testing.assert_allclose(refined.sum(1), 1, atol=1e-5)
    assert refined[0, 2].max() < 1e-6  # of a label that is not shown
    refiner = find_refiner(f"sam3:{sam3_folder}", "cpu")
    assert isinstance(refiner, SamRefiner)
    pixels = refiner._pixels(np.full((*SIZE_HW, 3), 255, np.uint8), 56, 56)
    assert (pixels == 1).all()  # not the colours of ImageNet


@pytest.mark.parametrize("wrong", ["sam", "sam:", "yolo:folder", "attention+", "attention"])
def test_names_that_are_no_source_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="clipseg:FOLDER"):
        find_prompted(wrong)


def test_a_name_tells_what_sees_the_objects_and_whether_attention_joins_in() -> None:
    told = {name: parse_source(name) for name in ("attention", "segmentator", "both")}
    assert {name: (one.kind, one.fused, one.takes_heat) for name, one in told.items()} == {
        "attention": ("attention", False, True),
        "segmentator": ("segmentator", False, False),
        "both": ("segmentator", True, True),
    }
    for kind in MAKERS:
        alone, fused = parse_source(f"{kind}:a:b"), parse_source(f"attention+{kind}:a:b")
        assert (alone.kind, alone.model, alone.is_prompted) == (kind, "a:b", True)
        assert (alone.takes_heat, fused.takes_heat, fused.fused) == (False, True, True)
    assert tuple(MAKERS) == PROMPTED


def test_folders_of_other_models_are_refused(
    clipseg_folder: Path, sam2_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="type 'sam'"):
        find_prompted(f"sam:{sam2_folder}", "cpu")
    with pytest.raises(InputError, match="type 'clipseg'"):
        find_prompted(f"clipseg:{sam2_folder}", "cpu")
    with pytest.raises(InputError, match="type 'sam3_video'"):
        find_prompted(f"sam3:{sam2_folder}", "cpu")
    with pytest.raises(InputError, match="type 'sam3_tracker'"):
        find_refiner(f"sam3:{sam2_folder}", "cpu")
    with pytest.raises(InputError, match=r"config\.json"):
        find_prompted(f"sam2:{tmp_path}", "cpu")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clipseg_folder / name).read_bytes())
    with pytest.raises(InputError, match="tokenizer"):
        find_prompted(f"clipseg:{tmp_path}", "cpu")


def test_generate_and_remask_ask_a_network(
    clipseg_folder: Path, sam3_folder: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    size = ("--height", 48, "--width", 64, "--num-inference-steps", 1)
    least = ("generate", "--model", tiny_random_folder, "--class", "bird", "--n", 1, *size)
    source, out = f"clipseg:{clipseg_folder}", tmp_path / "out"
    done(*least, "--keep-maps", "--out", out, "--mask-source", source)
    assert read_run(out).settings["mask_source"] == source
    again = tmp_path / "again"
    done("remask", out, "--out", again, "--mask-source", source)
    masks = [(folder / "masks" / "Bird_000000.png").read_bytes() for folder in (out, again)]
    assert masks[0] == masks[1]
    two = (*least, "--n", 3, "--batch-size", 2, "--out", tmp_path / "two")
    sam3 = f"sam3:{sam3_folder}"
    result = call(*two, "--mask-source", sam3, "--refiner", sam3)
    assert (result.exit_code, "subset of the architecture" in result.stderr) == (0, False)
    assert len(list((tmp_path / "two" / "masks").iterdir())) == 3
    least = (*least, "--out", again, "--mask-source")
    assert "expected threshold auto" in refused(*least, source, "--threshold", "0.4")
    assert "clipseg:FOLDER" in refused(*least, "yolo:folder")
