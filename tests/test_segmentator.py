"""The Segmentator: hidden states, heads, labels, files, what it predicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.labelled.labels import Labels
from diffumask.models import load_autoencoder, resolve, vae_fingerprint
from diffumask.models.files import fingerprint_vae
from diffumask.segmentator import HEADS, Predictor, Segmentator, load, new_head, read_facts, save
from diffumask.segmentator.facts import Facts
from diffumask.segmentator.features import (
    Autoencoder,
    after_middle,
    decoded_states,
    decoder_shape,
    encode_images,
    hidden_states,
    padded,
)
from diffumask.segmentator.head import LEAST_STD, Projection, enlarged
from diffumask.segmentator.heads import disagreement, probabilities, reduced
from diffumask.types import IGNORE_ID

pytestmark = pytest.mark.numeric

LABELS = Labels({"bird": 3, "potted plant": 8})


@pytest.fixture(scope="module", params=["AutoencoderKL", "AutoencoderTiny"])
def vae(tiny_random_folder: Path, request: pytest.FixtureRequest) -> Autoencoder:
    """A random autoencoder of factor 8."""
    if request.param == "AutoencoderKL":
        return load_autoencoder(resolve(str(tiny_random_folder)), "cpu")
    return small_autoencoder().requires_grad_(False).eval()


def small_autoencoder() -> AutoencoderTiny:
    torch.manual_seed(0)
    widths, blocks = (8, 8, 8, 8), (3, 2, 2, 1)
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=blocks[::-1],
        num_decoder_blocks=blocks,
    )


def latents(batch: int = 1, size_hw: tuple[int, int] = (3, 5), channels: int = 4) -> torch.Tensor:
    return torch.randn(batch, channels, *size_hw, generator=torch.Generator().manual_seed(0))


def n_hooks(vae: Autoencoder) -> int:
    return sum(len(module._forward_hooks) for module in vae.modules())


def whole(states: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    return [state for state in states if state is not None]


def segmentator(vae: Autoencoder, design: str = "pyramid", side: int = 16) -> Segmentator:
    facts = Facts(design, LABELS, "some model", "0123456789abcdef", side, {"steps": 3})
    return Segmentator(new_head(design, vae, 3, seed=1).eval(), facts)


def test_hidden_states_have_the_shape_that_the_configuration_tells(vae: Autoencoder) -> None:
    tiny = load_autoencoder(resolve("tiny"), "cpu")
    for one, channels in ((vae, 4), (tiny, 8)):
        shape = decoder_shape(one)
        states = whole(decoded_states(one, latents(channels=channels)))
        assert [state.shape[1] for state in states] == list(shape.channels)
        sizes = [(24 // factor, 40 // factor) for factor in shape.factors]
        assert [tuple(state.shape[2:]) for state in states] == sizes
    assert shape.channels == (128, 128, 128, 96, 48, 24)
    assert shape.factors == (8, 8, 4, 2, 1, 1)


def test_reading_leaves_the_decoder_as_it_was(vae: Autoencoder) -> None:
    with torch.no_grad():
        whole_vae: Any = vae  # decode wants a FloatTensor by name
        plain = whole_vae.decode(latents())[0]
        with hidden_states(vae) as reading:
            assert torch.equal(whole_vae.decode(latents())[0], plain)
    assert len(reading.states()) == len(decoder_shape(vae).channels)
    assert n_hooks(vae) == 0
    with pytest.raises(RuntimeError), hidden_states(vae):
        raise RuntimeError
    assert n_hooks(vae) == 0


def test_the_last_place_of_a_decoder_is_what_its_last_layer_sees() -> None:
    vae: Any = small_autoencoder()
    with torch.no_grad():
        *_, last = whole(decoded_states(vae, latents()))
        drawn = vae.decoder.layers[-1](last) * 2 - 1
        torch.testing.assert_close(drawn, vae.decode(latents())[0])
    wide = AutoencoderTiny(upsampling_scaling_factor=4)
    with pytest.raises(InputError, match="doubles sizes, got one of 4 times"):
        decoder_shape(wide)


def test_sliced_decoding_is_joined_and_tiled_decoding_refused(vae: Autoencoder) -> None:
    at_once = whole(decoded_states(vae, latents(2)))
    vae.enable_slicing()
    sliced = whole(decoded_states(vae, latents(2)))
    vae.disable_slicing()
    for one, other in zip(at_once, sliced, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    vae.enable_tiling()
    with pytest.raises(InputError, match="got tiling"):
        decoded_states(vae, latents())
    vae.disable_tiling()


def test_what_cannot_be_read_is_refused(vae: Autoencoder) -> None:
    with hidden_states(vae) as reading, pytest.raises(ValueError, match="expected a decode"):
        reading.states()
    with pytest.raises(InputError, match="AutoencoderTiny, got Identity"):
        decoder_shape(torch.nn.Identity())
    with pytest.raises(InputError, match=r"heads linear, pyramid, .* got 'mask'"):
        new_head("mask", vae, 3)


@pytest.mark.parametrize("design", HEADS)
def test_heads_give_logits_at_the_size_of_the_image(vae: Autoencoder, design: str) -> None:
    head = new_head(design, vae, 3)
    states = decoded_states(vae, latents(2))
    logits = head(reduced(head, states))
    assert logits.shape[1:] == (2, 3, 24, 40)
    torch.testing.assert_close(probabilities(logits).sum(1), torch.ones(2, 24, 40))
    doubt = disagreement(logits)
    if len(logits) == 1:
        assert doubt.abs().max() < 1e-5
    else:
        assert 0 < doubt.max() <= np.log(len(logits))
    with torch.no_grad():
        while_decoding = head(decoded_states(vae, latents(2), head.reduce))
    torch.testing.assert_close(while_decoding, logits, rtol=1e-4, atol=1e-4)


def test_a_copy_of_the_decoder_starts_with_its_weights(vae: Autoencoder) -> None:
    head: Any = new_head("decoder-copy", vae, 3)
    for own, of_vae in zip(head.layers.parameters(), after_middle(vae).parameters(), strict=True):
        assert torch.equal(own, of_vae)
        assert own.requires_grad
        assert not of_vae.requires_grad
    (state,) = whole(decoded_states(vae, latents(), head.reduce))
    before_last = after_middle(vae)(state)
    assert before_last.shape[1:] == (decoder_shape(vae).channels[-1], 24, 40)
    torch.testing.assert_close(head([state]), head.out(before_last)[None])


def test_a_projection_standardises_and_commutes_with_enlarging(vae: Autoencoder) -> None:
    head = new_head("mlp", vae, 3)
    states = decoded_states(vae, latents(2))
    head.calibrate(states)
    for module in (one for one in head.modules() if isinstance(one, Projection)):
        state = whole(states)[module.place]
        spread = state.std((0, 2, 3), keepdim=True).clamp(min=LEAST_STD)
        standard = (state - state.mean((0, 2, 3), keepdim=True)) / spread
        slow = functional.conv2d(standard, module.convolution.weight, module.convolution.bias)
        torch.testing.assert_close(module(state), slow, rtol=1e-3, atol=1e-3)
        enlarged_first = module(enlarged(state, 2))
        torch.testing.assert_close(enlarged(module(state), 2), enlarged_first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size_hw", [(8, 8), (19, 30), (16, 33)])
def test_any_size_is_padded_and_cropped_back(vae: Autoencoder, size_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(256, size=(*size_hw, 3), dtype=np.uint8)
    predictor = Predictor(segmentator(vae, side=size_hw[0]), vae)
    class_map = predictor(image)
    assert class_map.shape == size_hw
    assert set(np.unique(class_map)) <= {0, 3, 8}
    planes = predictor.probabilities(image)
    assert planes.shape == (3, *size_hw)
    np.testing.assert_allclose(planes.sum(0), 1, atol=1e-5)
    assert not predictor.uncertainty(image).round(5).any()
    padded_image = padded(image, 8)
    assert all(side % 8 == 0 for side in padded_image.shape[:2])
    states = decoded_states(vae, encode_images(vae, padded_image[None]))
    head = predictor.segmentator.head
    with torch.no_grad():
        slow = probabilities(head(reduced(head, states)))[0, :, : size_hw[0], : size_hw[1]]
    np.testing.assert_allclose(planes, slow.numpy(), atol=1e-4)


def test_pixels_that_an_ensemble_disagrees_on_are_255(vae: Autoencoder) -> None:
    image = np.random.default_rng(0).integers(256, size=(19, 30, 3), dtype=np.uint8)
    one = segmentator(vae, "mlp", side=19)
    plain = Predictor(one, vae)(image)
    assert not (plain == IGNORE_ID).any()
    doubtful = []
    for agreement in (0.5, 1.0):
        asked = Predictor(one, vae, agreement)(image)
        np.testing.assert_array_equal(asked[asked != IGNORE_ID], plain[asked != IGNORE_ID])
        doubtful.append((asked == IGNORE_ID).mean())
    assert doubtful[0] <= doubtful[1] > 0
    with pytest.raises(InputError, match=r"expected an ensemble .* got the design pyramid"):
        Predictor(segmentator(vae), vae, 0.5)
    with pytest.raises(InputError, match=r"agreement in \[0, 1\], got 1.5"):
        Predictor(one, vae, 1.5)


def test_images_are_brought_to_the_side_of_the_training_and_back(vae: Autoencoder) -> None:
    image = np.zeros((40, 52, 3), np.uint8)
    assert Predictor(segmentator(vae, side=16), vae).probabilities(image).shape == (3, 40, 52)


def test_images_below_the_factor_are_refused(vae: Autoencoder) -> None:
    with pytest.raises(InputError, match=r"at least 8x8 pixels .* got 7x30"):
        Predictor(segmentator(vae), vae)(np.zeros((7, 30, 3), np.uint8))


def test_labels_go_to_ids_and_back() -> None:
    class_map = np.array([[0, 3, 8], [255, 255, 3]], np.uint8)
    labels = LABELS.encode(class_map)
    np.testing.assert_array_equal(labels, [[0, 1, 2], [255, 255, 1]])
    np.testing.assert_array_equal(LABELS.decode(labels), [[0, 3, 8], [255, 255, 3]])
    assert LABELS.find("Potted-Plant") == 2
    assert LABELS.find("dog") is None
    assert LABELS.has_background
    assert LABELS.ids == {"bird": 3, "potted plant": 8}
    street = Labels({"sky": 0, "road": 1})
    assert not street.has_background
    assert street.ids == {"sky": 0, "road": 1}


@pytest.mark.parametrize("design", HEADS)
def test_a_head_is_read_back_as_it_was_written(
    vae: Autoencoder, tmp_path: Path, design: str
) -> None:
    path = tmp_path / "heads" / "head.safetensors"
    one = segmentator(vae, design)
    save(one, vae, path)
    again = load(path, vae, "0123456789abcdef")
    assert again.facts == one.facts == read_facts(path)
    image = np.full((16, 24, 3), 90, np.uint8)
    before, after = (Predictor(each, vae).probabilities(image) for each in (one, again))
    np.testing.assert_array_equal(before, after)
    card = path.with_suffix(".md").read_text("utf-8")
    assert "background, bird, potted plant" in card
    assert "0123456789abcdef" in card
    assert sorted(one.name for one in path.parent.iterdir()) == ["head.md", "head.safetensors"]


def test_a_head_of_another_vae_is_refused_by_fingerprint(vae: Autoencoder, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save(segmentator(vae), vae, path)
    with pytest.raises(InputError, match=r"the VAE ffff of this model, got .* 0123456789abcdef"):
        load(path, vae, "ffff")


def test_what_is_no_head_is_refused(vae: Autoencoder, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match="expected a Segmentator of diffumask"):
        read_facts(path)
    for metadata in (None, {"diffumask": "{}"}, {"diffumask": '{"format": "other"}'}):
        save_file({"weight": torch.zeros(2)}, path, metadata)
        with pytest.raises(InputError, match="expected a Segmentator of diffumask"):
            read_facts(path)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="expected a Segmentator of diffumask"):
        load(path, vae, "")


def test_the_fingerprint_of_a_vae_knows_its_weights_but_not_their_precision(
    tiny_random_folder: Path, tmp_path: Path
) -> None:
    weights = load_file(tiny_random_folder / "vae" / "diffusion_pytorch_model.safetensors")
    weights = {name: value.half() for name, value in weights.items()}
    (tmp_path / "vae").mkdir()
    path = tmp_path / "vae" / "model.safetensors"
    save_file(weights, path)
    same = vae_fingerprint(resolve(str(tiny_random_folder)))
    assert fingerprint_vae(tmp_path) == same
    name = "decoder.conv_in.bias"
    save_file(weights | {name: weights[name] + 1}, path)
    assert fingerprint_vae(tmp_path) != same
    assert vae_fingerprint(resolve("tiny")) != same
    path.unlink()
    with pytest.raises(InputError, match="expected a VAE in safetensors"):
        fingerprint_vae(tmp_path)
