import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import utils as hub
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from diffumask.errors import InputError
from diffumask.models import DTYPES, MODELS, ModelSpec, fingerprint, load, resolve
from diffumask.models.precision import computes_in

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tiny_random_folder: Path, tmp_path: Path) -> Path:
    """A copy of the random model, to damage."""
    return shutil.copytree(tiny_random_folder, tmp_path / "model")


def test_which_models_there_are_is_told_without_torch() -> None:
    program = "import sys; from diffumask.models import MODELS, resolve; resolve('sd15'); "
    program += "resolve(str(MODELS['tiny'].source)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "diffumask.models.registry" in loaded, done.stderr
    assert not loaded & {"torch", "diffusers", "transformers"}


def test_the_registry_names_its_models() -> None:
    assert list(MODELS)[:6] == ["tiny", "sd15", "sd21", "sdxl", "sd3", "sd35"]
    assert all(resolve(name) is spec and spec.name == name for name, spec in MODELS.items())
    assert all(
        side % spec.family.size_step == 0
        for spec in MODELS.values()
        for side in (spec.height, spec.width)
    )


def test_a_folder_takes_its_sizes_from_its_files(folder: Path) -> None:
    assert resolve(str(folder)) == ModelSpec("model", folder, height=64, width=64)

    edit_json(folder / "unet" / "config.json", sample_size=[6, 9])
    assert (resolve(str(folder)).height, resolve(str(folder)).width) == (48, 72)


@pytest.mark.parametrize(
    ("model", "nearest"), [("sd-15", "sd15"), ("tyni", "tiny"), ("sd-xl", "sdxl")]
)
def test_an_unknown_model_gets_the_nearest_name_suggested(model: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"got '{model}'; did you mean '{nearest}'"):
        resolve(model)


def test_a_missing_folder_gets_no_name_suggested() -> None:
    with pytest.raises(InputError, match=r"owner/name, got '/no/such/folder'$"):
        resolve("/no/such/folder")


def test_a_hub_out_of_reach_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    for find in (lambda: resolve("someone/some-model"), lambda: load(MODELS["sd15"], "cpu")):
        with pytest.raises(InputError, match=r"model on the hub, got '.*/.*offline") as caught:
            find()
        assert "\n" not in str(caught.value)
    assert not caplog.records


def test_a_hub_id_is_resolved_from_what_was_downloaded(
    tiny_random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def download(hub_id: str, use_safetensors: bool, **skipped: None) -> str:
        asked.append((hub_id, use_safetensors))
        assert "safety_checker" in skipped
        return str(tiny_random_folder)

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: "its index")
    spec = resolve("someone/some-model")
    assert spec == ModelSpec("someone/some-model", "someone/some-model", 64, 64)
    assert load(spec, "cpu").unet.config.sample_size == 8
    assert fingerprint(spec) == fingerprint(resolve(str(tiny_random_folder)))
    assert set(asked) == {("someone/some-model", True)}


def test_a_loaded_pipeline_is_quiet_and_has_no_safety_checker(
    tiny_random_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe = load(resolve(str(tiny_random_folder)), device="cpu")
    assert isinstance(pipe, StableDiffusionPipeline)
    pipe("a bird", num_inference_steps=1, height=16, width=24)

    assert pipe.safety_checker is None
    assert pipe.device.type == "cpu"
    assert capfd.readouterr() == ("", "")


def test_weights_are_mapped_and_each_file_is_opened_once(
    tiny_random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_copied(data: bytes) -> None:
        raise AssertionError("expected a mapped file, got its bytes")

    monkeypatch.setattr("safetensors.torch.load", load_copied)
    asked: list[str] = []
    load_file = safetensors.torch.load_file
    monkeypatch.setattr(
        "safetensors.torch.load_file",
        lambda path, *rest, **more: asked.append(str(path)) or load_file(path, *rest, **more),
    )
    load(resolve(str(tiny_random_folder)), device="cpu")
    assert len(asked) == len(set(asked)) == 2  # UNet and VAE; transformers reads slices itself


def test_progress_bars_of_the_libraries_are_left_as_they_were(tiny_random_folder: Path) -> None:
    for library in (diffusers_logging, transformers_logging):
        assert library.is_progress_bar_enabled()
    load(resolve(str(tiny_random_folder)), device="cpu")
    for library in (diffusers_logging, transformers_logging):
        assert library.is_progress_bar_enabled()


def test_bars_of_the_hub_that_were_off_stay_so(tiny_random_folder: Path) -> None:
    hub.disable_progress_bars()
    try:
        load(resolve(str(tiny_random_folder)), device="cpu")
        assert hub.are_progress_bars_disabled()
    finally:
        hub.enable_progress_bars()


def test_a_model_saved_with_a_safety_checker_loads_without_it(folder: Path) -> None:
    edit_json(
        folder / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        requires_safety_checker=True,
    )
    assert load(resolve(str(folder)), device="cpu").safety_checker is None


def test_stable_diffusion_xl_loads_with_both_text_encoders(xl_pipe: DiffusionPipeline) -> None:
    assert isinstance(xl_pipe, StableDiffusionXLPipeline)
    assert xl_pipe.tokenizer.model_max_length == xl_pipe.tokenizer_2.model_max_length == 77
    assert xl_pipe.tokenizer.pad_token != xl_pipe.tokenizer_2.pad_token
    assert xl_pipe.text_encoder_2.config.projection_dim == 32


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_every_part_has_the_asked_dtype_or_float32_without_kernels_for_it(
    tiny_random_folder: Path, name: str, dtype: torch.dtype
) -> None:
    pipe = load(resolve(str(tiny_random_folder)), device="cpu", dtype=name)
    expected = dtype if computes_in(dtype, "cpu") else torch.float32
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {expected}


def test_the_dtype_is_float32_on_the_cpu_by_default(pipe: DiffusionPipeline) -> None:
    assert pipe.unet.dtype == torch.float32


def test_a_bad_dtype_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="float32, float16, bfloat16 as dtype, got 'int8'"):
        load(MODELS["sd15"], device="cpu", dtype="int8")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(device: str) -> None:
    with pytest.raises(InputError, match=f"device of this machine, got '{device}'"):
        load(MODELS["sd15"], device=device)


def test_a_folder_without_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without model_index\.json"):
        resolve(str(tmp_path))
    with pytest.raises(InputError, match=r"without model_index\.json"):
        load(ModelSpec("gone", tmp_path / "gone", 64, 64), "cpu")


def without_cross_attention(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=32,
    ).save_pretrained(folder / "unet", safe_serialization=True)


def without_unet(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = index.pop("unet")
    (folder / "model_index.json").write_text(json.dumps(index))


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / UNET_WEIGHTS)
    del tensors["conv_in.weight"]
    save_file(tensors, folder / UNET_WEIGHTS)


def of_another_shape(folder: Path) -> None:
    tensors = load_file(folder / UNET_WEIGHTS)
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:8].clone()
    save_file(tensors, folder / UNET_WEIGHTS)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no cross-attention": (without_cross_attention, "UNet with cross-attention .* without"),
    "no UNet": (without_unet, "whole model, got .* without transformer"),
    "UNet of another kind": (
        lambda d: edit_json(d / "model_index.json", unet=["diffusers", "UNet2DModel"]),
        "with UNet2DModel",
    ),
    "UNet cut off": (lambda d: cut(d / UNET_WEIGHTS, 0.5), f"whole weights, got .*{UNET_WEIGHTS}"),
    "VAE cut off": (
        lambda d: cut(d / "vae/diffusion_pytorch_model.safetensors", 0.99),
        "whole weights, got .*vae",
    ),
    "text encoder empty": (
        lambda d: cut(d / "text_encoder/model.safetensors", 0),
        "whole weights, got .*text_encoder",
    ),
    "weights missing": (lambda d: (d / UNET_WEIGHTS).unlink(), "no file named"),
    "only a pickle": (
        lambda d: (d / UNET_WEIGHTS).rename(d / "unet/diffusion_pytorch_model.bin"),
        "no file named",
    ),
    "tensor missing": (without_a_tensor, r"none for conv_in\.weight"),
    "tensor of another shape": (of_another_shape, r"conv_in\.weight expected shape"),
    "tokenizer missing": (lambda d: shutil.rmtree(d / "tokenizer"), "without tokenizer"),
    "index no JSON": (lambda d: cut(d / "model_index.json", 0.5), "JSON file at .*model_index"),
    "config no JSON": (lambda d: cut(d / "vae/config.json", 0.5), "vae/config.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, damage: str) -> None:
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(InputError, match=message) as caught:
        load(ModelSpec("damaged", folder, 64, 64), device="cpu")
    assert "\n" not in str(caught.value)


def test_the_fingerprint_follows_what_is_loaded(folder: Path, tiny_random_folder: Path) -> None:
    original = fingerprint(resolve(str(tiny_random_folder)))
    spec = resolve(str(folder))
    assert len(original) == 16
    assert fingerprint(spec) == original

    (folder / "README.md").write_text("not loaded")
    shutil.copytree(folder / "vae", folder / "safety_checker")
    assert fingerprint(spec) == original

    tensors = load_file(folder / UNET_WEIGHTS)
    tensors["conv_in.weight"][0, 0, 0, 0] += 1
    save_file(tensors, folder / UNET_WEIGHTS)
    other_weights = fingerprint(spec)
    edit_json(folder / "scheduler" / "scheduler_config.json", beta_end=0.5)
    assert len({original, other_weights, fingerprint(spec)}) == 3
