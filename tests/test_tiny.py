"""The recipe of the built-in model: exact resuming, latents, tokenizer."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from diffumask.tiny.__main__ import main
from diffumask.tiny.autoencoder import (
    Reconstruction,
    decode,
    encode,
    train_autoencoder,
    train_decoder,
)
from diffumask.tiny.denoiser import Captioned, even_shares, tokenize, train_denoiser
from diffumask.tiny.latents import encode_images, normalise_latents
from diffumask.tiny.pace import PROBE_STEPS, steps_within
from diffumask.tiny.text import EOS, new_text_encoder, train_tokenizer
from diffumask.tiny.unet import UNET, draw_timesteps, new_pipeline, new_scheduler
from diffumask.training import Schedule

pytestmark = pytest.mark.numeric

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
        before = Reconstruction(vae)(batch)
    photo = np.full((40, 90, 3), 128, np.uint8)
    schedule = Schedule(6, 1e-2, warmup_steps=1, ema_decay=0.0, checkpoint_every=6)
    train_autoencoder(vae, images, [photo], schedule, tmp_path)
    with torch.no_grad():
        assert Reconstruction(vae)(batch) < before
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
    tokenizer = train_tokenizer(CAPTIONS, tmp_path / "tokenizer")
    pipeline = new_pipeline(vae, new_text_encoder(tokenizer), tokenizer)
    before = pipeline.text_encoder.get_input_embeddings().weight.clone()
    latents = np.random.default_rng(0).normal(size=(40, 3, 8, 16)).astype(np.float16)
    schedule = Schedule(1, 1e-3, warmup_steps=1, ema_decay=0.0, checkpoint_every=2)
    data = Captioned(latents, CAPTIONS, np.ones(len(CAPTIONS)))
    train_denoiser(pipeline, UNET, data, schedule, tmp_path)
    assert not torch.equal(pipeline.text_encoder.get_input_embeddings().weight, before)


def test_classes_of_many_sub_classes_are_drawn_more_often():
    bird, cat, both = even_shares([["bird"], ["cat"], ["cat", "bird"]])
    assert (bird, cat) == (1.5 * 8**0.5, 2**0.5)
    assert both == (bird + cat) / 2


def test_last_timestep_is_pure_noise():
    assert float(new_scheduler().alphas_cumprod[-1]) == 0.0


def test_timesteps_cover_the_schedule_and_favour_its_middle():
    timesteps = draw_timesteps(20_000, torch.Generator().manual_seed(0))
    assert 0 <= timesteps.min() < 20
    assert 980 < timesteps.max() <= 999
    assert ((timesteps >= 200) & (timesteps < 700)).float().mean() > 0.55


def test_steps_within_minutes_are_measured_once_and_kept(tmp_path, monkeypatch):
    tried, now = [], [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def train_steps(number, folder):
        assert not list(folder.iterdir())
        tried.append(number)
        now[0] += 100 + 0.25 * number

    record = tmp_path / "stage" / "pace.json"
    assert steps_within(2.0, train_steps, record) == 480
    assert steps_within(9.0, train_steps, record) == 480
    assert tried == list(PROBE_STEPS)


def test_every_stage_runs_from_the_command_line(tmp_path, monkeypatch):
    """The whole recipe on a few renders, the autoencoder paced by minutes."""
    images = np.random.default_rng(0).integers(0, 255, (4, 128, 128, 3)).astype(np.uint8)
    work = tmp_path / "work"
    (work / "renders").mkdir(parents=True)
    np.save(work / "renders" / "images.npy", images)
    texts = [("a photo of a cat on grass", ["cat"]), ("a bird on sand", ["bird"])] * 2
    (work / "renders" / "texts.json").write_text(json.dumps(texts))
    monkeypatch.setattr("diffumask.tiny.pace.PROBE_STEPS", (1, 2))
    monkeypatch.setattr("diffumask.tiny.denoiser.SHEET_STEPS", 1)
    few = ["--work", str(work), "--renders", "4", "--batch-size", "1"]
    run_stage(monkeypatch, "vae", *few, "--minutes", "0.00001")
    run_stage(monkeypatch, "latents", *few)
    run_stage(monkeypatch, "denoiser", *few, "--steps", "1")
    run_stage(monkeypatch, "decoder", *few, "--steps", "1")
    run_stage(monkeypatch, "export", *few, "--out", str(tmp_path / "out"))
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "out", safety_checker=None)
    assert pipe.unet.config.sample_size * pipe.vae_scale_factor == 128
    assert np.load(work / "latents.npy").shape == (4, 4, 32, 32)
    assert len(list((work / "denoiser").glob("sheet_*.png"))) == 1


def run_stage(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["diffumask.tiny", *words])
    main()
