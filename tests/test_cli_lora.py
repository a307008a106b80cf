"""`diffumask lora train`, and `generate --lora`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import call, done, refused
from PIL import Image as PillowImage
from safetensors.torch import load_file, save_file

from diffumask.dataset.run import read_run

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two images with captions."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 255, (24, 40, 3), np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{index}.png")
    rows = [{"file_name": f"{index}.png", "text": "a bird"} for index in range(2)]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def train(images: Path, model: Path, out: Path, *more: object) -> list[object]:
    least = ("--steps", 2, "--batch-size", 1, "--rank", 2, "--resolution", "16x24")
    return ["lora", "train", "--images", images, "--model", model, "-o", out, *least, *more]


@pytest.fixture(scope="module")
def lora(images: Path, tiny_random_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the random model, made large enough to see."""
    out = tmp_path_factory.mktemp("lora") / "nested" / "lora.safetensors"
    result = call(*train(images, tiny_random_folder, out, "--learning-rate", 0.1))
    assert result.exit_code == 0, result.stderr
    told = f"trained on 2 images; the LoRA is in {out}, for generate"
    assert result.stdout.startswith(told)
    assert "2/2" in result.stderr
    return out


def test_a_finished_training_overwrites_nothing(
    images: Path, tiny_random_folder: Path, lora: Path
) -> None:
    before = lora.read_bytes()
    words = train(images, tiny_random_folder, lora)
    assert "expected a free name for the LoRA" in refused(*words)
    assert lora.read_bytes() == before


def test_a_training_that_was_stopped_goes_on_by_itself(
    images: Path, tiny_random_folder: Path, lora: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora.safetensors"
    words = train(images, tiny_random_folder, out, "--learning-rate", 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffumask.lora.training.write_new", interrupt)
        stopped = call(*words)
    state = out.with_suffix(".training")
    assert stopped.exit_code == 130
    assert stopped.stderr.endswith(f"stopped; the last state is in {state}; run again to go on\n")
    assert "another seed (0, now 1);" in refused(*words, "--seed", 1)
    again = done(*words)
    assert again.startswith("trained on 2 images")
    assert not (state / "state.safetensors").exists()
    assert out.read_bytes() == lora.read_bytes()
    first, resumed = load_file(lora), load_file(out)
    assert all(torch.equal(first[name], resumed[name]) for name in first)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_kill_after_the_lora_was_written_keeps_it_and_no_state(
    images: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora.safetensors"
    words = train(images, tiny_random_folder, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffumask.training.folder.TrainingFolder.finish", interrupt)
        assert call(*words).exit_code == 130
    content = out.read_bytes()
    done(*words)
    assert out.read_bytes() == content
    assert not (out.with_suffix(".training") / "state.safetensors").exists()
    out.write_bytes(b"thesis")
    assert "expected a free name for the LoRA" in refused(*words)
    assert out.read_bytes() == b"thesis"


def test_what_cannot_be_trained_on_is_refused_in_one_line(
    images: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora.safetensors"
    words = train(images, tiny_random_folder, out)
    assert "the LoRA named *.safetensors" in refused(
        *train(images, tiny_random_folder, tmp_path / "a.bin")
    )
    assert "rank of 1 or more" in refused(*words, "--rank", 0)
    assert "a resolution such as" in refused(*words, "--resolution", "big")
    assert "height divisible by 8" in refused(*words, "--resolution", "20x24")
    assert "a file of captions" in refused(*words, "--captions", tmp_path / "none.txt")
    assert "folder of images" in refused(*train(Path(__file__), tiny_random_folder, out))
    assert not list(tmp_path.iterdir())


def test_generate_draws_with_a_lora_and_says_so(
    lora: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    def make(name: str, *more: object) -> tuple[np.ndarray, dict]:
        size = ("--height", 48, "--width", 64, "--num-inference-steps", 2)
        out = tmp_path / name
        words = ("generate", "--model", tiny_random_folder, "--class", "bird", "--n", 1, *size)
        done(*words, "--out", out, *more)
        with PillowImage.open(out / "images" / "Bird_000000.png") as picture:
            return np.array(picture), dict(read_run(out).settings)

    plain, plain_settings = make("plain")
    drawn, settings = make("drawn", "--lora", lora)
    assert not np.array_equal(drawn, plain)
    assert set(settings) - set(plain_settings) == {"lora", "lora_scale"}
    assert (len(settings["lora"]), settings["lora_scale"]) == (16, 1.0)
    words = ("generate", "--model", tiny_random_folder, "--class", "bird", "--n", 2)
    size = ("--height", 48, "--width", 64, "--num-inference-steps", 2)
    line = refused(*words, *size, "--out", tmp_path / "drawn", "--lora", lora, "--lora-scale", 0.5)
    assert "another lora_scale" in line


def test_generate_refuses_what_is_no_lora_in_one_line(
    lora: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("generate", "--model", tiny_random_folder, "--class", "bird", "--n", 1, "--out", out)
    assert "may run code" in refused(*words, "--lora", tmp_path / "lora.bin")
    assert "a LoRA file" in refused(*words, "--lora", tmp_path / "none.safetensors")
    assert "a finite scale of the LoRA" in refused(*words, "--lora", lora, "--lora-scale", "nan")
    wide = tmp_path / "wide.safetensors"
    save_file({name: value.repeat(2, 2) for name, value in load_file(lora).items()}, wide)
    assert "made for this StableDiffusionPipeline" in refused(*words, "--lora", wide)
    assert not out.exists()
