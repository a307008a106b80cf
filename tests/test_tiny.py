"""The recipe of the built-in model: exact resuming, latents, tokenizer."""

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from diffumask.tiny.autoencoder import (
    decode,
    encode,
    reconstruction_loss,
    train_autoencoder,
    train_decoder,
)
from diffumask.tiny.denoiser import (
    draw_timesteps,
    even_shares,
    new_pipeline,
    new_scheduler,
    tokenize,
    train_denoiser,
)
from diffumask.tiny.latents import encode_images, normalise_latents
from diffumask.tiny.text import EOS, new_text_encoder, train_tokenizer
from diffumask.training import Schedule

CAPTIONS = ["a photo of a duck bird on grass", "a potted plant and an owl bird at night"] * 20


def small_vae() -> AutoencoderKL:
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (4, 8),
        "norm_num_groups": 4,
        "latent_channels": 3,
        "layers_per_block": 1,
    }
    return AutoencoderKL(**config)


def test_normalised_latents_have_unit_variance_and_decode_to_the_same_image():
    torch.manual_seed(0)
    vae = small_vae().eval()
    images = torch.rand(4, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        before = encode(vae, images)
        rebuilt = decode(vae, before.mean)
        mean, std = before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3))
        normalise_latents(vae, mean, std)
        after = encode(vae, images)
        again = decode(vae, after.mean)
    assert torch.allclose(after.mean.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(after.mean.std((0, 2, 3)), torch.ones(3), atol=1e-4)
    assert torch.allclose(after.std * std[:, None, None], before.std, rtol=1e-4)
    assert torch.allclose(again, rebuilt, atol=1e-4)


def test_encoded_images_are_read_back_from_disk(tmp_path):
    images = np.zeros((3, 16, 24, 3), np.uint8)
    first = encode_images(small_vae(), images, tmp_path / "latents.npy")
    assert first.shape == (3, 3, 8, 12)
    assert np.array_equal(encode_images(small_vae(), images, tmp_path / "latents.npy"), first)


def test_autoencoder_training_lowers_the_loss_and_shows_sheets(tmp_path):
    torch.manual_seed(0)
    vae = small_vae()
    images = np.random.default_rng(0).integers(0, 255, (8, 128, 128, 3)).astype(np.uint8)
    batch = torch.from_numpy(images[:2]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        before = reconstruction_loss(vae, batch)
    photo = np.full((40, 90, 3), 128, np.uint8)
    schedule = Schedule(6, 1e-2, warmup_steps=1, ema_decay=0.0, checkpoint_every=6)
    train_autoencoder(vae, images, [photo], schedule, tmp_path)
    with torch.no_grad():
        assert reconstruction_loss(vae, batch) < before
    assert len(list(tmp_path.glob("sheet_000006_*.png"))) == 1


def test_decoder_trains_alone_and_leaves_the_encoder(tmp_path):
    torch.manual_seed(0)
    vae = small_vae().requires_grad_(False)
    encoder, decoder = ({k: v.clone() for k, v in part.state_dict().items()}
                        for part in (vae.encoder, vae.decoder))  # fmt: skip
    images = np.zeros((8, 128, 128, 3), np.uint8)
    latents = np.zeros((8, 3, 64, 64), np.float16)
    schedule = Schedule(1, 1e-2, warmup_steps=1, ema_decay=0.0)
    train_decoder(vae, images, latents, schedule, tmp_path)
    assert all(torch.equal(v, encoder[k]) for k, v in vae.encoder.state_dict().items())
    assert any(not torch.equal(v, decoder[k]) for k, v in vae.decoder.state_dict().items())


def test_tokenizer_knows_every_text_and_splits_rare_words(tmp_path):
    tokenizer = train_tokenizer(CAPTIONS, tmp_path)
    assert "bird</w>" in tokenizer.tokenize("a bird")
    assert len(tokenizer.tokenize("xylophone")) > 1
    assert EOS not in tokenizer.tokenize("Ünïcode, 42 ☂ emoji!")
    assert tokenize(tokenizer, ["a bird", ""]).shape == (2, 77)


def test_denoiser_trains_on_captions_alone(tmp_path):
    torch.manual_seed(0)
    vae = small_vae()
    vae.register_to_config(latent_channels=8)
    tokenizer = train_tokenizer(CAPTIONS, tmp_path / "tokenizer")
    pipeline = new_pipeline(vae, new_text_encoder(tokenizer), tokenizer)
    before = pipeline.text_encoder.get_input_embeddings().weight.clone()
    latents = np.random.default_rng(0).normal(size=(40, 8, 4, 8)).astype(np.float16)
    schedule = Schedule(1, 1e-3, warmup_steps=1, ema_decay=0.0, checkpoint_every=2)
    train_denoiser(pipeline, latents, CAPTIONS, np.ones(len(CAPTIONS)), schedule, tmp_path)
    assert not torch.equal(pipeline.text_encoder.get_input_embeddings().weight, before)


def test_classes_of_many_sub_classes_are_drawn_more_often():
    bird, bicycle, both = even_shares([["bird"], ["bicycle"], ["bicycle", "bird"]])
    assert (bird, bicycle) == (8**0.5, 1)
    assert both == (bird + bicycle) / 2


def test_last_timestep_is_pure_noise():
    assert float(new_scheduler().alphas_cumprod[-1]) == 0.0


def test_timesteps_cover_the_schedule_and_favour_its_middle():
    timesteps = draw_timesteps(20_000, torch.Generator().manual_seed(0))
    assert 0 <= timesteps.min() < 20
    assert 980 < timesteps.max() <= 999
    assert ((timesteps >= 200) & (timesteps < 700)).float().mean() > 0.55
