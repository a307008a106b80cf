"""The recipe of `tiny-mmdit`: what it trains is what a stock pipeline samples."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusion3Pipeline
from safetensors.torch import load_file
from test_tiny import CAPTIONS, run_stage
from torch import nn

from diffumask.attention.capture import capture
from diffumask.tiny.denoiser import tokenize
from diffumask.tiny.mmdit import (
    NULL_ROWS,
    TEXT_LENGTH,
    WITHOUT_T5,
    FlowMatching,
    PlainAttention,
    draw_timesteps,
    encode_text,
    new_joint_pipeline,
)
from diffumask.tiny.text import STREAM_SCALE, new_text_encoder, train_tokenizer, with_projection
from diffumask.training import Schedule, train

pytestmark = pytest.mark.numeric

PROMPTS = ["a bird on grass", "an owl bird at night"]
SMALL = ("--width", "64", "--layers", "2")
FEW = ("--renders", "4", "--batch-size", "2", "--steps", "3")


def small_vae() -> AutoencoderKL:
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (4, 4, 8),
        "norm_num_groups": 4,
        "latent_channels": 4,
        "layers_per_block": 1,
    }
    return AutoencoderKL(**config)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> StableDiffusion3Pipeline:
    """An untrained pipeline, but for its output, which is not 0."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CAPTIONS, tmp_path_factory.mktemp("tokenizer"))
    pipeline = new_joint_pipeline(small_vae(), new_text_encoder(tokenizer), tokenizer, 64, 2)
    pipeline.set_progress_bar_config(disable=True)
    for name, parameter in pipeline.transformer.named_parameters():
        if "norm" in name or "proj_out" in name:
            nn.init.normal_(parameter, std=0.1)
    return pipeline


def test_the_layer_before_the_last_gives_the_output_of_the_text_encoder(tmp_path):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CAPTIONS, tmp_path)
    encoder = new_text_encoder(tokenizer).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.2)
    ids = tokenize(tokenizer, PROMPTS)
    with torch.no_grad():
        plain = encoder(ids, output_hidden_states=True)
        found = with_projection(encoder)(ids, output_hidden_states=True)
    expected = plain.last_hidden_state + plain.hidden_states[-1] * STREAM_SCALE
    assert torch.allclose(found.hidden_states[-2], expected, atol=1e-4)
    assert torch.allclose(found.text_embeds.std(-1), torch.ones(2), atol=0.01)


def test_training_sees_what_the_pipeline_makes_of_a_prompt(pipeline):
    hidden, pooled = encode_text(
        pipeline.text_encoder, tokenize(pipeline.tokenizer, [*PROMPTS, ""])
    )
    made = pipeline.encode_prompt(PROMPTS, None, None, max_sequence_length=1)
    assert hidden.shape == (3, TEXT_LENGTH + 1, 320)
    assert torch.equal(made[0], hidden[:2])
    assert torch.equal(made[1], hidden[[2, 2]])
    assert torch.equal(made[2], pooled[:2])
    assert torch.equal(made[3], pooled[[2, 2]])


@pytest.mark.parametrize("n_rows", [1, NULL_ROWS])
def test_one_row_of_zeros_acts_as_many(pipeline, n_rows):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 8, 12, generator=generator)
    timesteps = torch.tensor([300.0, 700.0])
    hidden, pooled = encode_text(pipeline.text_encoder, tokenize(pipeline.tokenizer, PROMPTS))
    many, _, pooled_too, _ = pipeline.encode_prompt(
        PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=n_rows
    )
    logits = torch.full((2, 1, 1), math.log(n_rows))
    with torch.no_grad():
        expected = pipeline.transformer(latents, many, pooled_too, timesteps).sample
        none = pipeline.transformer(latents, hidden[:, :-1], pooled, timesteps).sample
        with PlainAttention(logits):
            found = pipeline.transformer(latents, hidden, pooled, timesteps).sample
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(none, expected, atol=1e-3)


def test_the_scheduler_goes_back_along_the_velocity_that_is_learned(pipeline):
    clean, noise = torch.randn(2, 1, 4, 8, 8).unbind()
    seen: list[Any] = []

    def learn_nothing(noisy: Any, hidden: Any, pooled: Any, timesteps: Any) -> Any:
        seen.append((noisy, timesteps))
        return type("Output", (), {"sample": torch.zeros_like(noisy)})

    network = FlowMatching(pipeline)
    del network.transformer
    network.transformer = learn_nothing
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(4)
    ids = tokenize(pipeline.tokenizer, PROMPTS[:1])
    latents, velocity = noise, noise - clean
    for timestep in scheduler.timesteps:
        loss = network(clean, noise, timestep[None], ids)
        assert torch.allclose(seen[-1][0], latents, atol=1e-5)
        assert torch.isclose(loss, velocity.square().mean())
        latents = scheduler.step(velocity, timestep, latents).prev_sample
    assert torch.allclose(latents, clean, atol=1e-5)


def test_timesteps_reach_both_ends_and_favour_the_middle():
    timesteps = draw_timesteps(20_000, torch.Generator().manual_seed(0))
    assert 0 <= timesteps.min() < 10
    assert 990 < timesteps.max() <= 1000
    assert ((timesteps > 250) & (timesteps < 750)).float().mean() == pytest.approx(0.704, abs=0.02)


def test_the_loss_of_one_batch_falls_and_the_text_encoder_stays(pipeline):
    torch.manual_seed(0)
    encoder = pipeline.text_encoder
    fresh = new_joint_pipeline(
        small_vae(), new_text_encoder(pipeline.tokenizer), pipeline.tokenizer, 64, 2
    )
    before = {name: one.clone() for name, one in fresh.text_encoder.state_dict().items()}
    network = FlowMatching(fresh)
    batch = (*torch.randn(2, 4, 4, 8, 8).unbind(), torch.linspace(100, 900, 4))
    ids = tokenize(pipeline.tokenizer, [*PROMPTS, "", ""])
    losses: list[float] = []

    def loss_at(step: int) -> torch.Tensor:
        loss = network(*batch, ids)
        losses.append(loss.item())
        return loss

    train(network, loss_at, Schedule(15, 1e-2, warmup_steps=1))
    assert losses[-1] < 0.7 * losses[0]
    assert all(
        torch.equal(one, before[name]) for name, one in fresh.text_encoder.state_dict().items()
    )
    assert encoder is not fresh.text_encoder


class CutError(Exception):
    """Stands for a machine that goes away in the middle of a training."""


def new_work(folder: Path) -> Path:
    """Make the work folder of a `tiny` whose denoiser is in training."""
    torch.manual_seed(0)
    (folder / "renders").mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "renders" / "images.npy", rng.integers(0, 255, (4, 128, 128, 3), np.uint8))
    texts = [(caption, ["bird"]) for caption in CAPTIONS[:4]]
    (folder / "renders" / "texts.json").write_text(json.dumps(texts))
    small_vae().save_pretrained(folder / "vae" / "trained")
    tokenizer = train_tokenizer(CAPTIONS, folder / "denoiser" / "tokenizer")
    train_text(folder, new_text_encoder(tokenizer))
    return folder


def train_text(folder: Path, encoder: nn.Module) -> None:
    """Leave a state of the denoiser's training of which only the text encoder counts."""
    (folder / "denoiser" / "state.safetensors").unlink(missing_ok=True)
    network = nn.ModuleDict({"text_encoder": encoder})
    schedule = Schedule(1, 1e-3)

    def loss_at(step: int) -> torch.Tensor:
        return torch.stack([one.sum() for one in network.parameters()]).sum()

    train(network, loss_at, schedule, folder / "denoiser")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffumask.tiny.denoiser.SHEET_STEPS", 1)
        work = new_work(tmp_path_factory.mktemp("work") / "work")
        run_stage(patch, "mmdit", "--work", str(work), *FEW, *SMALL)
    return work


def test_a_training_that_was_cut_ends_at_the_same_weights(trained, tmp_path, monkeypatch, capsys):
    work = new_work(tmp_path / "work")

    def cut(pipeline: Any, kind: Any, folder: Path, step: int) -> None:
        if step == 2:
            raise CutError

    monkeypatch.setattr("diffumask.tiny.stages.CHECKPOINT_EVERY", 1)
    monkeypatch.setattr("diffumask.tiny.stages.write_sheet", cut)
    words = ("mmdit", "--work", str(work), *FEW, *SMALL)
    with pytest.raises(CutError):
        run_stage(monkeypatch, *words)
    monkeypatch.setattr("diffumask.tiny.stages.write_sheet", lambda *_: None)
    tokenizer = train_tokenizer(CAPTIONS, work / "denoiser" / "tokenizer")
    train_text(work, new_text_encoder(tokenizer))  # goes on meanwhile, which must not matter
    run_stage(monkeypatch, *words)
    assert "step 3 of 3: " in capsys.readouterr().out
    texts, transformers = (
        [load_part(one / "mmdit" / "trained" / part) for one in (trained, work)]
        for part in ("text_encoder", "transformer")
    )
    assert all(torch.equal(texts[0][name], texts[1][name]) for name in texts[0])
    whole, resumed = (one["proj_out.weight"] for one in transformers)  # it was 0 at first
    assert (whole - resumed).norm() < 0.02 * whole.norm()  # bfloat16 may round otherwise


def load_part(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def test_it_is_exported_for_the_stock_pipeline(trained, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert len(list((trained / "mmdit").glob("sheet_000003.png"))) == 1
    run_stage(monkeypatch, "export-mmdit", "--work", str(trained), "--out", str(out))
    assert {one.dtype for one in load_part(out / "transformer").values()} == {torch.float16}
    card = (out / "MODEL_CARD.md").read_text("utf-8")
    assert "6 images in 3 steps" in card
    pipe: Any = StableDiffusion3Pipeline.from_pretrained(out, **WITHOUT_T5)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.default_sample_size * pipe.vae_scale_factor == 128
    pictures = [
        pipe(PROMPTS, height=64, width=40, num_inference_steps=2, **options).images
        for options in ({}, {"guidance_scale": 1.0, "max_sequence_length": 1})
    ]
    assert [[one.size for one in two] for two in pictures] == [[(40, 64)] * 2] * 2
    with capture(pipe, ["bird"] * 2) as attention:
        pipe(PROMPTS, height=64, width=40, num_inference_steps=1, max_sequence_length=1)
    assert sorted(attention.maps) == [(8, 5)]


def test_it_wants_a_text_encoder_that_was_trained(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run_stage(monkeypatch, "mmdit", "--work", str(tmp_path))
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("expected the state of this training in")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
