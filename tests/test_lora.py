"""LoRA: captions, training, the file that diffusers reads, what generation does with it."""

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image as PillowImage
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffumask.errors import InputError
from diffumask.lora import (
    Captioned,
    LoraSettings,
    lora_applied,
    read_captioned,
    read_lora,
    train_lora,
)
from diffumask.lora.training import _Loss, encode_images
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target

pytestmark = pytest.mark.numeric

pytest.importorskip("peft")

SETTINGS = LoraSettings(
    24, 32, rank=2, text_encoder=True, num_steps=3, batch_size=2, learning_rate=0.05
)
PROMPT = Prompt("a photo of a bird on grass", (Target("bird", "bird", 3),))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three images of several sizes with captions."""
    folder = tmp_path_factory.mktemp("images")
    rows = []
    for index, size_wh in enumerate([(40, 30), (30, 50), (32, 24)]):
        pixels = np.random.default_rng(index).integers(0, 255, (*size_wh[::-1], 3), np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "text": f"a photo of a bird {index}"})
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="module")
def lora(pipe: DiffusionPipeline, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the UNet and the text encoder."""
    out = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    train_lora(pipe, read_captioned(images), SETTINGS, out)
    return out


def weights(pipe: DiffusionPipeline) -> Mapping[str, Tensor]:
    parts = ("unet", "text_encoder")
    return {
        f"{part}.{name}": value
        for part in parts
        for name, value in getattr(pipe, part).state_dict().items()
    }


def pixels(pipe: DiffusionPipeline, **options) -> np.ndarray:
    call: Any = pipe  # the base class leaves __call__ to its subclasses
    return call(
        PROMPT.text,
        height=48,
        width=64,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **options,
    ).images[0]


@pytest.mark.parametrize("kind", [".txt", ".csv", ".jsonl"])
def test_captions_go_with_their_images(images: Path, tmp_path: Path, kind: str) -> None:
    texts = {
        ".txt": "a dog\n\na  cat, black\na bird\n",
        ".csv": 'file_name,text\n1.png,"a cat, black"\n0.png,a dog\n2.png,a bird\n',
        ".jsonl": "\n".join(
            json.dumps({"file_name": f"{index}.png", key: text})
            for index, key, text in [
                (2, "prompt", "a bird"),
                (0, "text", "a dog"),
                (1, "caption", "a cat, black"),
            ]
        ),
    }
    path = tmp_path / f"captions{kind}"
    path.write_text(texts[kind])
    found = read_captioned(images, path)
    assert [(one.name, one.caption) for one in found] == [
        ("0.png", "a dog"),
        ("1.png", "a cat, black"),
        ("2.png", "a bird"),
    ]
    assert found[0].path == images / "0.png"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.txt", "a dog\na cat", "a line for each of 3 images in .*, got 2"),
        ("c.jsonl", '{"file_name": "0.png", "text": "a"}', "got none for 1.png"),
        ("c.jsonl", '{"file_name": "9.png", "text": "a"}', "got no 9.png"),
        ("c.jsonl", '{"file_name": "../0.png", "text": "a"}', "got no ../0.png"),
        ("c.jsonl", '{"file_name": "0.png", "text": " "}', "c.jsonl:1: expected file_name and"),
        ("c.jsonl", "[1]", "c.jsonl:1: expected a JSON object"),
        ("c.jsonl", "", "got none"),
        ("c.csv", "file_name,text\n0.png,a\n0.png,b\n", "one caption of 0.png, got two"),
        ("c.csv", "name,text\n0.png,a\n", "c.csv:2: expected file_name"),
        ("c.xlsx", "", "expected captions in a .txt, .csv or .jsonl"),
    ],
)
def test_captions_that_do_not_fit_are_refused(
    images: Path, tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_captioned(images, tmp_path / name)


def test_images_without_any_captions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a file of captions"):
        read_captioned(tmp_path)
    with pytest.raises(InputError, match="folder of images"):
        read_captioned(tmp_path / "none")


def test_masks_beside_the_images_need_no_captions(images: Path, tmp_path: Path) -> None:
    for name in ("images/Bird_000000.png", "masks/Bird_000000.png", "preview.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((images / "0.png").read_bytes())
    row = {"file_name": "images/Bird_000000.png", "prompt": "a bird"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    assert [one.caption for one in read_captioned(tmp_path)] == ["a bird"]


def test_a_damaged_image_is_named(pipe: DiffusionPipeline, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"torn\.png"):
        encode_images(pipe, [Captioned("torn.png", tmp_path / "torn.png", "a")], (24, 32))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_that_of_the_equations(
    pipe: DiffusionPipeline, images: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type=kind)
    monkeypatch.setattr(pipe, "scheduler", scheduler)
    captioned = read_captioned(images)
    loss = _Loss(pipe, captioned, SETTINGS)
    generator = torch.Generator().manual_seed(5)  # seed 0, step 5
    chosen = torch.randint(3, (2,), generator=generator)
    dropped = torch.rand(2, generator=generator) < 0.1
    clean = encode_images(pipe, captioned, (24, 32))[chosen]
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = torch.randint(1000, (2,), generator=generator)
    alpha = torch.cumprod(1 - pipe.scheduler.betas, 0)[timesteps].reshape(2, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    target = {"epsilon": noise, "v_prediction": velocity, "sample": clean}[kind]
    texts = ["" if d else captioned[i].caption for i, d in zip(chosen, dropped, strict=True)]
    ids = pipe.tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = pipe.text_encoder(ids).last_hidden_state
        predicted = pipe.unet(noisy, timesteps, hidden).sample
        expected = (predicted - target).square().mean()
        assert loss(5).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_leaves_the_pipeline_as_it_was(
    pipe: DiffusionPipeline, images: Path, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in weights(pipe).items()}
    required = [one.requires_grad for one in pipe.unet.parameters()]
    train_lora(pipe, read_captioned(images), SETTINGS, tmp_path / "lora.safetensors")
    after = weights(pipe)
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [one.requires_grad for one in pipe.unet.parameters()] == required


def test_training_lowers_the_loss(pipe: DiffusionPipeline, images: Path, tmp_path: Path) -> None:
    settings = LoraSettings(24, 32, rank=4, num_steps=15, batch_size=3, learning_rate=0.02)
    out, captioned = tmp_path / "lora.safetensors", read_captioned(images)
    train_lora(pipe, captioned, settings, out)
    loss = _Loss(pipe, captioned, settings)
    with torch.no_grad():
        before = sum(loss(step).item() for step in range(100, 110))
        with lora_applied(pipe, read_lora(out)):
            after = sum(loss(step).item() for step in range(100, 110))
    assert after < 0.98 * before


def test_resumed_training_gives_the_same_file(
    pipe: DiffusionPipeline, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(Exception):
        pass

    def cut(step: int, num_steps: int) -> None:
        if step == 2:
            raise PowerCutError

    schedule = SETTINGS.schedule()
    every_step = type(schedule)(
        3, 0.05, warmup_steps=1, ema_decay=0.99, log_every=10, checkpoint_every=1
    )
    monkeypatch.setattr(LoraSettings, "schedule", lambda self: every_step)
    captioned = read_captioned(images)
    train_lora(pipe, captioned, SETTINGS, tmp_path / "whole.safetensors")
    one = tmp_path / "one.safetensors"
    with pytest.raises(PowerCutError):
        train_lora(pipe, captioned, SETTINGS, one, tmp_path / "state", on_step=cut)
    assert not one.exists()
    with safe_open(tmp_path / "state" / "state.safetensors", "pt") as state:
        assert not any("conv" in name for name in state.keys())  # noqa: SIM118
    train_lora(pipe, captioned, SETTINGS, one, tmp_path / "state")
    left = {path.name for path in (tmp_path / "state").iterdir()}
    assert left == {"train.json", ".lock"}
    whole, resumed = load_file(tmp_path / "whole.safetensors"), load_file(one)
    assert set(whole) == set(resumed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_stops_at_a_loss_that_is_not_finite(
    pipe: DiffusionPipeline, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "lora.safetensors"
    monkeypatch.setattr(
        "diffumask.lora.training.encode_images",
        lambda *given: torch.full((3, 4, 3, 4), math.nan),
    )
    with pytest.raises(InputError, match="finite loss"):
        train_lora(pipe, read_captioned(images), SETTINGS, out)
    assert not out.exists()
    assert not any("lora" in name for name in weights(pipe))


def test_the_file_is_one_that_diffusers_reads(pipe: DiffusionPipeline, lora: Path) -> None:
    names = list(load_file(lora))
    assert all(name.startswith(("unet.", "text_encoder.text_model.")) for name in names)
    plain = pixels(pipe)
    for scale in (1.0, 0.5):
        with lora_applied(pipe, read_lora(lora), scale):
            ours = pixels(pipe)
        try:
            pipe.load_lora_weights(str(lora))
            theirs = pixels(pipe, cross_attention_kwargs={"scale": scale})
        finally:
            pipe.unload_lora_weights()
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert np.abs(ours - plain).max() > 1e-3
    np.testing.assert_array_equal(pixels(pipe), plain)


def test_a_scale_of_0_is_no_lora(pipe: DiffusionPipeline, lora: Path) -> None:
    with lora_applied(pipe, read_lora(lora), 0.0):
        without = pixels(pipe)
    np.testing.assert_allclose(without, pixels(pipe), atol=1e-6)


def test_the_pipeline_is_restored_after_an_error(pipe: DiffusionPipeline, lora: Path) -> None:
    before = list(weights(pipe))
    with pytest.raises(KeyError), lora_applied(pipe, read_lora(lora)):
        raise KeyError
    assert list(weights(pipe)) == before


def test_attention_is_captured_with_a_lora(pipe: DiffusionPipeline, lora: Path) -> None:
    settings = SampleSettings(2, 3.0, height=48, width=64)
    (plain,) = sample(pipe, [PROMPT], [0], settings)
    with lora_applied(pipe, read_lora(lora)):
        (drawn,) = sample(pipe, [PROMPT], [0], settings)
    assert drawn.heats["bird"].shape == plain.heats["bird"].shape
    assert not np.array_equal(drawn.heats["bird"], plain.heats["bird"])


def test_the_xl_pipeline_is_trained_and_drawn_with(
    xl_pipe: DiffusionPipeline, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora.safetensors"
    train_lora(xl_pipe, read_captioned(images), SETTINGS, out)
    prefixes = {name.split(".")[0] for name in load_file(out)}
    assert prefixes == {"unet", "text_encoder", "text_encoder_2"}
    plain = pixels(xl_pipe)
    with lora_applied(xl_pipe, read_lora(out)):
        assert np.abs(pixels(xl_pipe) - plain).max() > 1e-3


def test_a_lora_of_another_architecture_is_refused(
    pipe: DiffusionPipeline, xl_pipe: DiffusionPipeline, lora: Path, tmp_path: Path
) -> None:
    before = list(weights(xl_pipe))
    with pytest.raises(InputError, match="made for this StableDiffusionXLPipeline"):
        lora_applied(xl_pipe, read_lora(lora)).__enter__()
    assert list(weights(xl_pipe)) == before
    other = {name: value.repeat(2, 2) for name, value in load_file(lora).items()}
    save_file(other, tmp_path / "wide.safetensors")
    with pytest.raises(InputError, match="made for this StableDiffusionPipeline"):
        lora_applied(pipe, read_lora(tmp_path / "wide.safetensors")).__enter__()
    assert not any("lora" in name for name in weights(pipe))


def test_files_that_are_no_lora_are_refused(tmp_path: Path) -> None:
    for name in ("lora.bin", "lora.pt", "lora.ckpt"):
        with pytest.raises(InputError, match="may run code"):
            read_lora(tmp_path / name)
    with pytest.raises(InputError, match="a LoRA file"):
        read_lora(tmp_path / "none.safetensors")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"1234")
    with pytest.raises(InputError, match="whole"):
        read_lora(torn)
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match=r"'conv.weight'"):
        read_lora(tmp_path / "unet.safetensors")


@pytest.mark.parametrize(
    "wrong", [{"rank": 0}, {"height": 20}, {"learning_rate": math.nan}, {"batch_size": 0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        LoraSettings(**{"height": 24, "width": 32, **wrong})


def test_the_code_of_the_docs_runs(pipe: DiffusionPipeline, images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "street")
    page = (Path(__file__).parent.parent / "docs" / "lora.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {"pipe": pipe, "images": tmp_path / "street"})
    assert (tmp_path / "street" / "lora.safetensors").exists()
