"""Labels without gaps, batches that follow from the step, training that resumes, predictions."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)

from diffumask.dataset.pair import Pair
from diffumask.errors import InputError
from diffumask.labelled.labels import Labels
from diffumask.segmentation import (
    NETWORKS,
    FitSettings,
    Network,
    class_maps,
    class_probabilities,
    new_network,
    save_network,
)
from diffumask.segmentation.fitting import fit, make_batch
from diffumask.segmentation.predict import label_maps
from diffumask.segmentation.segmenter import pretrained

pytestmark = pytest.mark.numeric

IDS = {"dog": 12, "bird": 3}
LABELS = Labels(IDS)
ONES = [1, 1, 1, 1]
STAGES: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}


class PowerCutError(Exception):
    """Stands for a machine that goes away in the middle of a training."""


def small_segformer(seed: int = 0, labels: Labels = LABELS) -> Network:
    torch.manual_seed(seed)
    config = SegformerConfig(
        hidden_sizes=[4, 4, 8, 8],
        decoder_hidden_size=8,
        id2label=dict(enumerate(labels.names)),
        depths=ONES,
        num_attention_heads=ONES,
    )
    return Network(SegformerForSemanticSegmentation(config), labels).eval()


def small_mask2former(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    swin = SwinConfig(
        embed_dim=8,
        depths=ONES,
        num_heads=ONES,
        window_size=2,
        **STAGES,
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=4,
        train_num_points=32,
        id2label=dict(enumerate(LABELS.names)),
    )
    return Network(Mask2FormerForUniversalSegmentation(config), LABELS).eval()


def squares(count: int, size_hw: tuple[int, int] = (48, 64)) -> list[Pair]:
    """A red bird or a blue dog on grey, with a rim of 255."""
    pairs = []
    for index in range(count):
        rng = np.random.default_rng(index)
        image = np.full((*size_hw, 3), 128, np.uint8)
        class_map = np.zeros(size_hw, np.uint8)
        top, left = rng.integers(4, 16, 2)
        bird = index % 2
        class_map[top - 1 : top + 25, left - 1 : left + 25] = 255
        class_map[top : top + 24, left : left + 24] = 3 if bird else 12
        image[top : top + 24, left : left + 24] = (250, 0, 0) if bird else (0, 0, 250)
        pairs.append(Pair(image, class_map))
    return pairs


def normalised(network: Network, pixels: torch.Tensor) -> torch.Tensor:
    return network.preprocessing.normalised(pixels)


def weights(network: Network) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def test_labels_have_no_gaps_and_follow_the_ids():
    assert LABELS.names == ("background", "bird", "dog")
    class_map = np.array([[0, 3, 12, 255]], np.uint8)
    assert LABELS.encode(class_map).tolist() == [[0, 1, 2, 255]]
    assert LABELS.decode(np.array([[0, 1, 2]], np.uint8)).tolist() == [[0, 3, 12]]


def test_a_class_with_id_0_or_no_background_leaves_no_background():
    assert Labels({"sky": 0, "road": 3}).names == ("sky", "road")
    assert Labels({"wall": 1, "sky": 3}, has_background=False).names == ("wall", "sky")


@pytest.mark.parametrize("ids", [{}, {"bird": 255}, {"bird": 1, "dog": 1}, {"bird": -1}])
def test_class_ids_must_fit(ids):
    with pytest.raises(InputError, match=r"class ids in 1\.\.254"):
        Labels(ids)


def test_one_label_is_too_few():
    with pytest.raises(InputError, match="two classes or a background"):
        Labels({"sky": 0})


def test_an_unknown_id_is_refused():
    with pytest.raises(InputError, match=r"0, 3, 12 or 255, got 7"):
        LABELS.encode(np.array([[0, 7]], np.uint8))


@given(st.sets(st.integers(1, 254), min_size=1), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_decoding_undoes_encoding(ids, seed):
    labels = Labels({f"class {one}": one for one in ids})
    drawn = np.random.default_rng(seed).choice([0, *sorted(ids)], (3, 5)).astype(np.uint8)
    assert (labels.decode(labels.encode(drawn)) == drawn).all()


def test_a_batch_follows_from_its_number():
    chosen = FitSettings(batch_size=3)
    first, again, other = (
        make_batch(squares(4), LABELS, chosen, (40, 56), number) for number in (5, 5, 6)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (3, 3, 40, 56)
    assert first[1].shape == (3, 40, 56)


def test_every_image_comes_once_before_any_comes_again():
    pairs = [
        Pair(np.full((32, 32, 3), i, np.uint8), np.zeros((32, 32), np.uint8)) for i in range(6)
    ]
    chosen = FitSettings(batch_size=2, scale=(1.0, 1.0))
    seen = [
        round(float(value * 255))
        for number in range(6)
        for value in make_batch(pairs, LABELS, chosen, (32, 32), number)[0].amax((1, 2, 3))
    ]
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]


def test_image_and_labels_of_a_batch_stay_together():
    chosen = FitSettings(batch_size=8, scale=(0.6, 1.6))
    pixels, labels = make_batch(squares(8, (90, 64)), LABELS, chosen, (40, 48), 0)
    red = (pixels[:, 0] > 0.9) & (pixels[:, 1] < 0.1)
    blue = (pixels[:, 2] > 0.9) & (pixels[:, 1] < 0.1)
    assert red.any()
    assert blue.any()
    assert set(labels[red].tolist()) <= {1, 255}
    assert set(labels[blue].tolist()) <= {2, 255}
    assert not (((labels == 1) & blue) | ((labels == 2) & red)).any()


def test_without_scaling_and_flipping_a_batch_is_the_images():
    pairs = squares(2)
    chosen = FitSettings(batch_size=2, scale=(1.0, 1.0), flip=False)
    pixels, labels = make_batch(pairs, LABELS, chosen, (48, 64), 0)
    expected = sorted(pair.image.tobytes() for pair in pairs)
    images = (pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert sorted(image.tobytes() for image in images) == expected
    assert (labels == 255).any()


@pytest.mark.parametrize(("parts", "workers"), [(1, 0), (2, 2)])
def test_an_interrupted_training_equals_an_uninterrupted_one(tmp_path, parts, workers):
    chosen = FitSettings(
        num_steps=4,
        batch_size=2,
        checkpoint_every=2,
        gradient_accumulation_steps=parts,
        num_workers=workers,
        precision="float32",
        size_hw=(32, 40),
    )
    whole, cut, resumed = small_segformer(), small_segformer(), small_segformer()
    fit(whole, squares(3), FitSettings(**{**_fields(chosen), "num_workers": 0}))

    def stop(step: int, num_steps: int) -> None:
        if step == 3:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        fit(cut, squares(3), chosen, tmp_path, on_step=stop)
    fit(resumed, squares(3), chosen, tmp_path)
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(one, other)


def _fields(chosen: FitSettings) -> dict:
    return {name: getattr(chosen, name) for name in FitSettings.__slots__}


def test_training_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    network = small_mask2former()
    torch.manual_seed(1)
    fit(network, squares(2), FitSettings(num_steps=1, batch_size=1, size_hw=(32, 64)))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("make", [small_segformer, small_mask2former])
def test_one_step_changes_the_loss_and_255_does_not(make):
    network = make()
    pixels = torch.rand(2, 3, 32, 40)
    labels = torch.full((2, 32, 40), 255)
    labels[0, 4:20, 4:30] = 1  # the second image has nothing
    loss = network.loss(pixels, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_pixels_that_are_255_have_no_part_in_the_loss():
    network = small_segformer()
    pixels = torch.rand(1, 3, 32, 40)
    known = torch.zeros(1, 32, 40, dtype=torch.int64)
    known[:, :, 20:] = 255
    losses = []
    for seed in (0, 0):
        torch.manual_seed(seed)
        losses.append(network.loss(pixels, known))
    torch.manual_seed(0)
    top, left = torch.randint(2, (2,)).tolist()
    logits = torch.nn.functional.interpolate(
        network.model(pixel_values=normalised(network, pixels)).logits,
        (16, 20),
        mode="bilinear",
    )
    truth = known[:, top::2, left::2]
    of_pixels = logits.log_softmax(1)[:, 0][truth != 255]
    assert losses[0] == losses[1]
    assert losses[0].item() == pytest.approx(-of_pixels.mean().item(), rel=1e-5)
    assert network.loss(pixels, torch.full_like(known, 255)) == 0


def test_training_learns_two_colours():
    network = small_segformer()
    chosen = FitSettings(
        num_steps=80, batch_size=4, learning_rate=1e-2, precision="float32", size_hw=(32, 40)
    )
    fit(network, squares(8), chosen)
    pairs = squares(4)
    for pair, predicted in zip(pairs, class_maps(network, [p.image for p in pairs]), strict=True):
        known = pair.class_map != 255
        assert (predicted == pair.class_map)[known].mean() > 0.9


@pytest.mark.parametrize("make", [small_segformer, small_mask2former])
def test_probabilities_have_the_size_of_each_image(make):
    network = make()
    network.shorter_side_px = 32
    rng = np.random.default_rng(0)
    sizes_hw = [(40, 50), (40, 50), (64, 33)]
    images = [rng.integers(0, 256, (*size_hw, 3), np.uint8) for size_hw in sizes_hw]
    found = class_probabilities(network, images, batch_size=2)
    assert [one.shape for one in found] == [(3, *size_hw) for size_hw in sizes_hw]
    for one, class_map in zip(found, class_maps(network, images), strict=True):
        assert one.sum(0) == pytest.approx(1, abs=1e-5)
        assert (LABELS.decode(one.argmax(0).astype(np.uint8)) == class_map).all()
    alone = class_probabilities(network, images[1:2])[0]
    assert found[1] == pytest.approx(alone, abs=1e-5)
    assert class_maps(network, []) == []


@pytest.mark.parametrize("fails", [False, True])
def test_predicting_leaves_each_module_in_its_mode(monkeypatch, fails):
    network = small_segformer().train()
    frozen = next(one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d))
    frozen.eval()
    before = [module.training for module in network.modules()]

    def fail(pixels):
        raise KeyboardInterrupt

    if fails:
        monkeypatch.setattr(network, "logits", fail)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        class_maps(network, [squares(1)[0].image])
    assert [module.training for module in network.modules()] == before


def test_scores_of_queries_are_summed_as_a_loop_would():
    network = small_mask2former()
    pixels = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        output = network.model(pixel_values=normalised(network, pixels))
        found = network.logits(pixels)
    classes = output.class_queries_logits[0].softmax(-1)
    masks = output.masks_queries_logits[0].sigmoid()
    summed = torch.zeros(3, *masks.shape[1:])
    for query in range(4):
        for label in range(3):
            summed[label] += classes[query, label] * masks[query]
    enlarged = torch.nn.functional.interpolate(summed.log()[None], (32, 64), mode="bilinear")
    assert torch.allclose(found, enlarged, atol=1e-5)


@pytest.mark.parametrize("make", [small_segformer, small_mask2former])
def test_a_saved_network_is_read_by_evaluate_and_trained_further(tmp_path, make):
    network = make()
    network.shorter_side_px = 32
    save_network(network, tmp_path)
    image = cv2.resize(squares(1)[0].image, (80, 64))
    again = pretrained(str(tmp_path), "cpu")
    assert list(again.label_names.values()) == ["background", "bird", "dog"]
    expected = class_maps(network, [image])[0]
    assert again.preprocessing == network.preprocessing
    assert (LABELS.decode(label_maps(again, [image])[0].astype(np.uint8)) == expected).all()
    again = new_network(str(tmp_path), LABELS, 0, "cpu")
    assert again.shorter_side_px == 32
    assert all(map(torch.equal, weights(network), weights(again)))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("make", [small_segformer, small_mask2former])
def test_a_network_with_other_labels_gets_a_new_head(tmp_path, make):
    network = make()
    save_network(network, tmp_path)
    more = Labels({**IDS, "cat": 8})
    first, again = (new_network(str(tmp_path), more, 0, "cpu") for _ in range(2))
    assert first.logits(torch.rand(1, 3, 32, 64)).shape[1] == 4
    assert all(map(torch.equal, weights(first), weights(again)))
    old, new = network.state_dict(), first.state_dict()
    kept = [name for name, one in old.items() if torch.equal(one, new[name])]
    assert len(kept) > 0.9 * len(old)


@pytest.mark.parametrize("model", ["upernet-tiny", "segformer-tiny", "mask2former-tiny"])
def test_each_small_network_trains_on_a_single_image(model):
    network = new_network(model, LABELS, 0, "cpu")
    fit(network, squares(1), FitSettings(num_steps=1, batch_size=1, size_hw=(32, 64)))
    assert network.logits(torch.rand(1, 3, 40, 72)).shape == (1, 3, 40, 72)


def test_random_weights_depend_on_the_seed_alone():
    first, again, other = (new_network("segformer-tiny", LABELS, s, "cpu") for s in (0, 0, 1))
    assert all(map(torch.equal, weights(first), weights(again)))
    assert not all(map(torch.equal, weights(first), weights(other)))
    assert first.model.config.id2label == {0: "background", 1: "bird", 2: "dog"}


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match=r"one of upernet-tiny, .* got 'segformer'"):
        new_network("segformer", LABELS, 0)
    assert "mask2former" in NETWORKS


def test_a_folder_of_another_model_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="expected a semantic segmentation network"):
        new_network(str(tmp_path), LABELS, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"precision": "int8"},
        {"scale": (1.5, 1.0)},
        {"size_hw": (16, 64)},
        {"num_workers": -1},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        FitSettings(**wrong)


def test_no_images_are_refused():
    with pytest.raises(InputError, match="labelled images to train on, got none"):
        fit(small_segformer(), [], FitSettings())


def test_a_class_id_without_a_label_stops_the_training():
    with pytest.raises(InputError, match="got 12"):
        fit(small_segformer(labels=Labels({"bird": 3})), squares(2), FitSettings(num_steps=1))


def test_a_batch_too_small_to_be_normalised_is_one_line():
    pair = Pair(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))
    network = new_network("upernet-tiny", LABELS, 0, "cpu")
    with pytest.raises(InputError, match="got 1 images of 32x32; take a larger batch or size"):
        fit(network, [pair], FitSettings(num_steps=1, batch_size=1, precision="float32"))
