"""Models whose network is a transformer, from their folder to items with masks."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import done, refused
from PIL import Image
from random_chats import make_flux2_dev, make_klein, make_ovis_image, make_qwen_image, make_z_image
from random_transformers import make_chroma, make_gemma_tokenizer, make_pixart, make_sana, sd3
from slow_reference import PLANE

from diffumask.errors import InputError
from diffumask.models import load, resolve
from diffumask.sampling.observe import observe
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning"),  # of Chroma, unsaved
]

BIRD = Target("bird", "bird", 1)
PLANT = Target("potted plant", "pottedplant", 2)
PROMPTS = [Prompt("a bird on grass", (BIRD,)), Prompt(PLANE, (PLANT,))]
T5_FAMILIES = {"pixart": make_pixart, "chroma": make_chroma}
CHATS = {
    "klein": make_klein,
    "flux2": make_flux2_dev,
    "z_image": make_z_image,
    "qwen": make_qwen_image,
    "ovis": make_ovis_image,
}
FAMILIES = ["sd3", "flux", *T5_FAMILIES, "sana", *CHATS]
WITHOUT_MATRIX = {"sana"}  # linear attention


@pytest.fixture(params=FAMILIES, scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random pipeline of a family, which its name says; read only."""
    name = request.param
    if name in ("sd3", "flux"):
        return request.getfixturevalue(f"{name}_folder")
    if name == "sana":
        made: Any = make_sana(make_gemma_tokenizer([prompt.text for prompt in PROMPTS]))
    elif name in CHATS:
        made = CHATS[name]()
    else:
        t5, t5_tokenizer = map(request.getfixturevalue, ("t5", "t5_tokenizer"))
        made = T5_FAMILIES[name](t5, t5_tokenizer)
    path = tmp_path_factory.mktemp("models") / f"random_{name}"
    made.save_pretrained(path, safe_serialization=True)
    return path


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    return load(resolve(str(folder)), "cpu")


@pytest.fixture
def has_matrix(folder: Path) -> bool:
    return folder.name.removeprefix("random_") not in WITHOUT_MATRIX


@pytest.fixture
def size_hw(folder: Path) -> tuple[int, int]:
    return (64, 96) if folder.name == "random_sana" else (64, 48)  # multiples of its VAE's 32


@pytest.fixture
def grid_hw(folder: Path) -> tuple[int, int]:
    return (2, 3) if folder.name == "random_sana" else (4, 3)


def settings(size_hw: tuple[int, int]) -> SampleSettings:
    return SampleSettings(2, 3.0, *size_hw)


def test_a_folder_says_how_it_is_sampled(sd3_folder: Path, flux_folder: Path) -> None:
    of_sd3, of_flux = resolve(str(sd3_folder)), resolve(str(flux_folder))
    assert (of_sd3.height, of_sd3.num_inference_steps, of_sd3.guidance_scale) == (64, 28, 4.5)
    # the small FLUX has no guidance as an input, as schnell
    assert (of_flux.height, of_flux.num_inference_steps, of_flux.guidance_scale) == (1024, 4, 0.0)
    assert of_sd3.family.half == of_flux.family.half == "bfloat16"


def test_a_model_without_t5_loads_and_draws(tokenizer: Any, tmp_path: Path) -> None:
    sd3(tokenizer, (None, None)).save_pretrained(tmp_path / "model", safe_serialization=True)
    pipe: Any = load(resolve(str(tmp_path / "model")), "cpu")
    assert pipe.text_encoder_3 is None
    (made,) = sample(pipe, PROMPTS[:1], [3], settings((64, 48)))
    assert made.heats["bird"].max() == 1


def test_samples_are_the_pictures_of_the_pipeline_with_heat(
    pipe: Any, size_hw: tuple[int, int], grid_hw: tuple[int, int], has_matrix: bool
) -> None:
    made = sample(pipe, PROMPTS, [3, 4], settings(size_hw))
    is_flat = type(pipe).__name__ == "ChromaPipeline"  # outputs of its random weights are alike
    assert list(made[0].heats) == ["bird"]
    assert set(made[1].heats) == {"potted plant", "aeroplane"}
    assert list(made[0].affinities) == ["bird"]
    assert has_matrix == (made[0].affinities["bird"] != made[0].heats["bird"]).any() or is_flat
    has_bins = "use_resolution_binning" in signature(type(pipe).__call__).parameters
    plain = pipe(
        prompt=[prompt.text for prompt in PROMPTS],
        height=size_hw[0],
        width=size_hw[1],
        num_inference_steps=2,
        **guidance(pipe, 3.0),
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        **({"use_resolution_binning": False, "clean_caption": False} if has_bins else {}),
    ).images
    for one, image in zip(made, plain, strict=True):
        assert np.array_equal(one.image, np.array(image))
        assert one.image.shape == (*size_hw, 3)
        for heat in (*one.heats.values(), *one.affinities.values()):
            assert heat.shape == grid_hw
            assert heat.max() == 1 or is_flat
    assert (made[0].heats["bird"] != made[1].heats["potted plant"]).any() or is_flat


def guidance(pipe: Any, scale: float) -> dict[str, Any]:
    """Return what asks a pipeline for guidance, as its own documentation does."""
    if type(pipe).__name__ == "QwenImagePipeline":
        return {"true_cfg_scale": scale, "negative_prompt": [" "] * len(PROMPTS)}
    return {"guidance_scale": scale}


def test_an_item_does_not_depend_on_its_batch(pipe: Any, size_hw: tuple[int, int]) -> None:
    together = sample(pipe, PROMPTS, [3, 4], settings(size_hw))[1]
    (alone,) = sample(pipe, PROMPTS[1:], [4], settings(size_hw))
    assert np.abs(together.image.astype(int) - alone.image).max() <= 1
    for word, heat in alone.heats.items():
        assert np.abs(together.heats[word] - heat).max() < 0.02


PACKED = {"FluxPipeline", "ChromaPipeline", "OvisImagePipeline", "QwenImagePipeline"}


def shown(pipe: Any, images: list[np.ndarray], timestep: int) -> tuple[torch.Tensor, float]:
    """Return what a transformer should be shown of pictures, written out family by family."""
    pixels = torch.tensor(np.stack(images) / 127.5 - 1, dtype=torch.float32).permute(0, 3, 1, 2)
    kind = type(pipe).__name__
    config = pipe.vae.config
    with torch.no_grad():
        encoded = pipe.vae.encode(pixels[:, :, None] if kind == "QwenImagePipeline" else pixels)
    mode = encoded.latent if kind == "SanaPipeline" else encoded.latent_dist.mode()
    if kind == "QwenImagePipeline":
        mean, deviation = (torch.tensor(one) for one in (config.latents_mean, config.latents_std))
        latents = ((mode[:, :, 0].movedim(1, -1) - mean) / deviation).movedim(-1, 1)
    elif kind.startswith("Flux2"):
        patches = pipe._patchify_latents(mode)
        deviation = (pipe.vae.bn.running_var + config.batch_norm_eps).sqrt()
        latents = ((patches.movedim(1, -1) - pipe.vae.bn.running_mean) / deviation).movedim(-1, 1)
    else:
        latents = mode * config.scaling_factor
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    noise = torch.stack([torch.randn(latents.shape[1:], generator=one) for one in generators])
    share = timestep / 1000
    noisy = (1 - share) * latents + share * noise
    if kind == "PixArtSigmaPipeline":
        signal = pipe.scheduler.alphas_cumprod[timestep]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    if kind == "ZImagePipeline":
        return noisy, 1 - share
    if kind in PACKED:
        n, c, h, w = noisy.shape
        parts = noisy.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
        return parts.reshape(n, h * w // 4, c * 4), share
    if kind.startswith("Flux2"):
        return noisy.flatten(2).mT, share
    return noisy, float(timestep)


def test_a_transformer_is_shown_pictures_with_noise(
    pipe: Any, size_hw: tuple[int, int], grid_hw: tuple[int, int], has_matrix: bool
) -> None:
    rng = np.random.default_rng(0)
    images = list(rng.integers(256, size=(2, *size_hw, 3)).astype(np.uint8))
    seen: list[dict[str, Any]] = []

    def see(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        assert not args
        seen.append(kwargs)

    with pipe_hook(pipe, see):
        got = observe(pipe, images, PROMPTS, seeds=[3, 4], timesteps=(300,), affinity=True)
    (told,) = seen
    latents, timestep = shown(pipe, images, 300)
    is_z = type(pipe).__name__ == "ZImagePipeline"
    given = torch.stack(told["x"])[:, :, 0] if is_z else told["hidden_states"]
    assert given.shape == latents.shape
    assert (given - latents).abs().max() < 1e-4
    assert torch.allclose(told["t" if is_z else "timestep"].float(), torch.tensor([timestep] * 2))
    for one, prompt in zip(got, PROMPTS, strict=True):
        word = prompt.targets[0].word
        assert one.heats[word].shape == grid_hw
        assert list(one.affinities) == (list(one.heats) if has_matrix else [])


@contextmanager
def pipe_hook(pipe: Any, see: Any) -> Iterator[None]:
    """See what the transformer is given at last: after what other hooks put in its place."""
    forward = pipe.transformer.forward

    def seeing(*args: Any, **kwargs: Any) -> Any:
        see(pipe.transformer, args, kwargs)
        return forward(*args, **kwargs)

    pipe.transformer.forward = seeing
    try:
        yield
    finally:
        del pipe.transformer.forward


def test_pictures_of_a_wrong_kind_are_refused(pipe: Any, size_hw: tuple[int, int]) -> None:
    image = np.zeros((*size_hw, 3), np.uint8)
    for timesteps in ((), (1000,), (-1,)):
        with pytest.raises(InputError, match=r"expected timesteps in 0\.\.999"):
            observe(pipe, [image], PROMPTS[:1], seeds=[0], timesteps=timesteps)


def test_items_are_generated_and_masked_anew(
    folder: Path, size_hw: tuple[int, int], tmp_path: Path
) -> None:
    out = tmp_path / "birds"
    words = ["generate", "--model", folder, "--class", "bird", "-n", 2, "-o", out, "--keep-maps"]
    done(*words, "--num-inference-steps", 2, "--height", size_hw[0], "--width", size_hw[1])
    run = json.loads((out / "run.json").read_text())
    assert (run["settings"]["height"], run["settings"]["model"]) == (64, folder.name)
    done("verify", out)
    done("remask", out, "-o", tmp_path / "anew")


def test_a_model_is_examined_with_a_matrix_and_without(
    folder: Path, size_hw: tuple[int, int]
) -> None:
    if folder.name not in ("random_sd3", "random_sana"):
        pytest.skip("of the others it is the same")
    sizes = ("--height", size_hw[0], "--width", size_hw[1], "--num-inference-steps", 1)
    assert "verdict: " in done("doctor", "--model", folder, "--class", "bird", "-n", 1, *sizes)


def test_what_a_family_cannot_be_asked_is_refused_before_it_loads(
    flux_folder: Path, sd3_folder: Path, tmp_path: Path
) -> None:
    words = ["generate", "--class", "bird", "-n", 1, "-o", tmp_path / "x"]
    line = refused(
        *words, "--model", flux_folder, "--negative-prompt", "snow", "--guidance-scale", 3
    )
    assert "expected no negative prompt with random_flux, which takes none" in line
    line = refused(*words, "--model", sd3_folder, "--height", 72)
    assert "expected a height divisible by 16, got 72; use 64" in line
    assert not (tmp_path / "x").exists()


def test_a_model_of_another_kind_is_refused_by_name(sd3_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    index = json.loads((sd3_folder / "model_index.json").read_text())
    index["_class_name"] = "LuminaPipeline"
    index["transformer"] = ["diffusers", "LuminaNextDiT2DModel"]
    (other / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="got LuminaPipeline with LuminaNextDiT2DModel"):
        resolve(str(other))


def test_a_lora_is_not_trained_for_a_transformer(flux_folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64)).save(images / "bird.png")
    captions = tmp_path / "captions.jsonl"
    captions.write_text(json.dumps({"file_name": "bird.png", "text": "a bird"}) + "\n")
    words = ("--images", images, "--captions", captions, "-o", tmp_path / "bird.safetensors")
    line = refused("lora", "train", *words, "--model", flux_folder, "--resolution", 64)
    assert "expected a model with a UNet to train a LoRA for, got FluxPipeline" in line
