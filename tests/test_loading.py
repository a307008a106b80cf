"""What saves memory and what draws otherwise: offload, tiles, bits, schedulers, variants."""

import copy
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import jaxtyping
import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from commands import done, refused
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from diffusers.models.autoencoders.vae import Decoder

import diffumask.models
from diffumask.api import values
from diffumask.api.remask import RemaskOptions, _loaded
from diffumask.dataset.run import Run, read_run
from diffumask.errors import InputError
from diffumask.lora.apply import lora_applied
from diffumask.lora.file import read_lora
from diffumask.models import Loading, ModelSpec, fingerprint, load, resolve
from diffumask.models import loading as rules
from diffumask.models.files import has_weights
from diffumask.models.quantization import quantizations
from diffumask.models.schedulers import OF_FLOW, OF_NOISE, make_scheduler
from diffumask.sampling.decoding import finite_decoding, in_single_precision
from diffumask.sampling.observe import observe
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import HEAT_LEVELS, OnPhase, Prompt, Sample, Target, unseen_phase

BIRD = Target("bird", "bird", 1)
PROMPTS = [Prompt("a bird on grass", (BIRD,)), Prompt("a bird, high in snow", (BIRD,))]
SETTINGS = SampleSettings(2, 3.0, height=64, width=48)
CPU = torch.device("cpu")


def drawn(pipe: Any, on_phase: OnPhase = unseen_phase) -> list[Sample]:
    return sample(pipe, PROMPTS, [3, 4], SETTINGS, on_phase)


def same(some: list[Sample], others: list[Sample]) -> bool:
    """Tell whether samples are the same up to the rounding of kernels for other memory."""

    def near(one: Any, other: Any, step: float) -> bool:
        return bool(np.abs(one.astype(float) - other).max() <= step)

    return all(
        near(one.image, other.image, 1)
        and all(near(one.heats[word], heat, 0.02) for word, heat in other.heats.items())
        and all(near(one.affinities[word], x, 0.02) for word, x in other.affinities.items())
        for one, other in zip(some, others, strict=True)
    )


@pytest.fixture
def own(tiny_random_folder: Path) -> Any:
    """A pipeline to change."""
    return load(resolve(str(tiny_random_folder)), "cpu", "float32")


def offload_layers(pipe: Any) -> None:
    """Do as sequential offload does, with the CPU as the device of execution.

    The text encoder is left out: accelerate takes its tied weights for moved already.
    """
    for part in (pipe.unet, pipe.vae):
        cpu_offload(part, execution_device=CPU)


OFFLOADS = {
    "model": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "sequential": offload_layers,
}


@pytest.mark.parametrize("how", OFFLOADS)
def test_weights_that_wait_elsewhere_draw_and_show_the_same(
    own: Any, pipe: DiffusionPipeline, how: str
) -> None:
    OFFLOADS[how](own)
    for _ in range(2):
        assert same(drawn(own), drawn(pipe))
    image = drawn(pipe)[0].image
    seen, known = (observe(one, [image], PROMPTS[:1], seeds=[1]) for one in (own, pipe))
    assert same(seen, known)
    assert own._execution_device.type == "cpu"


@pytest.mark.parametrize("how", OFFLOADS)
def test_what_overflows_is_decoded_in_float32_by_weights_that_wait_elsewhere(
    tiny_random_folder: Path, how: str
) -> None:
    half: Any = load(resolve(str(tiny_random_folder)), "cpu", "bfloat16")
    if half.vae.dtype == torch.float32:
        pytest.skip("the device lacks the kernels for bfloat16")
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), in_single_precision(half.vae):
        expected = half.vae.decode(latents.bfloat16().float())[0]
    OFFLOADS[how](half)

    def overflow(decoder: Decoder, inputs: Any, images: torch.Tensor) -> None:
        if images.dtype == torch.bfloat16:
            images[0] = torch.nan

    half.vae.decoder.register_forward_hook(overflow)
    for _ in range(2):
        with torch.no_grad(), finite_decoding(half.vae) as again:
            images = half.vae.decode(latents.bfloat16())[0]
        assert again == {0}
        assert torch.equal(images, expected.bfloat16())
        assert {one.dtype for one in half.vae.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("how", [None, *OFFLOADS])
def test_tiles_and_slices_of_the_vae_leave_heat_as_it_is(
    own: Any, pipe: DiffusionPipeline, how: str | None
) -> None:
    Loading(vae_tiling=True).apply(own, CPU)
    assert own.vae.use_tiling
    assert own.vae.use_slicing
    own.vae.tile_latent_min_size = 4  # else tiles would be as large as the image
    if how is not None:
        OFFLOADS[how](own)
    plain, tiled = drawn(pipe), drawn(own)
    assert not np.array_equal(tiled[0].image, plain[0].image)
    for one, other in zip(tiled, plain, strict=True):
        # equal but for what rounds to another of the levels of heat
        assert np.abs(one.heats["bird"] - other.heats["bird"]).max() < 1.5 / HEAT_LEVELS


def test_offload_is_what_diffusers_does_with_the_device(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, torch.device]] = []
    device = torch.device("cuda", 1)
    for how in ("model", "sequential"):
        name = f"enable_{how}_cpu_offload"
        monkeypatch.setattr(own, name, lambda device, name=name: asked.append((name, device)))
        Loading(offload=how).apply(own, device)
    assert asked == [
        ("enable_model_cpu_offload", device),
        ("enable_sequential_cpu_offload", device),
    ]
    assert own.device == CPU


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--offload", "model"], "expected an accelerator to offload weights from, got cpu"),
        (["--offload", "disk"], "expected model or sequential as offload, got 'disk'"),
        (["--quantize", "nf4"], "expected an accelerator to quantize to nf4, got cpu"),
        (["--quantize", "int2"], "expected int8 or nf4 as quantize, got 'int2'"),
        (["--quantize", "int8", "--offload", "sequential"], "expected offload model beside"),
        (["--scheduler", "plms"], "expected ddim or pndm or .* as scheduler, got 'plms'"),
        (["--revision", "v1"], "a revision of a model on the hub, got 'v1' of tiny"),
        (["--variant", "fp16"], r"expected a variant that .*checkpoint has \(none\), got 'fp16'"),
    ],
)
def test_what_cannot_be_had_is_one_line_before_anything_is_made(
    tmp_path: Path, options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    line = refused("generate", "--class", "cat", "--device", "cpu", "--out", out, *options)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)
    assert not out.exists()


def test_the_names_that_shells_complete_are_those_there_are() -> None:
    assert values.OFFLOADS == rules.OFFLOADS
    assert values.QUANTIZATIONS == rules.QUANTIZATIONS
    assert values.SCHEDULERS == rules.SCHEDULERS


@pytest.mark.parametrize("name", OF_NOISE)
def test_every_scheduler_draws_and_shows_by_seeds_of_the_images_alone(own: Any, name: str) -> None:
    Loading(scheduler=name).apply(own, CPU)
    assert type(own.scheduler).__name__ == OF_NOISE[name].kind
    steps: list[tuple[int, int]] = []
    first = drawn(own, lambda what, at, of: steps.append((at, of)))
    assert all(at <= of for at, of in steps)
    torch.manual_seed(1)
    assert same(drawn(own), first)


SIGMAS = list(np.linspace(1, 1 / 8, 8))


@pytest.mark.parametrize("name", OF_FLOW)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_schedulers_of_flow_go_the_straight_way_to_the_image(name: str, shift: float) -> None:
    made = make_scheduler(name, FlowMatchEulerDiscreteScheduler(shift=shift))
    own = FlowMatchEulerDiscreteScheduler(shift=shift)
    given = {} if OF_FLOW[name].options else {"sigmas": SIGMAS}  # as the pipelines give them
    made.set_timesteps(len(SIGMAS), **given)
    own.set_timesteps(sigmas=SIGMAS)
    assert torch.allclose(made.sigmas.float(), torch.as_tensor(own.sigmas), atol=5e-3)
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
    x = noise * made.sigmas[0] + image * (1 - made.sigmas[0])
    for timestep in made.timesteps:
        x = made.step(noise - image, timestep, x).prev_sample
    assert (x - image).abs().max() < 1e-3


def test_a_scheduler_of_another_kind_is_refused_with_those_that_fit() -> None:
    own = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(InputError, match=r"FlowMatchEuler.* \(euler, dpm\+\+, unipc\), got 'ddim'"):
        make_scheduler("ddim", own)
    solver = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    )
    assert make_scheduler("euler", solver).config.shift == 3.0
    with pytest.raises(InputError, match=r"\(none but its own\), got 'euler'"):
        make_scheduler("euler", diffusers.EDMDPMSolverMultistepScheduler())


@pytest.mark.parametrize("name", OF_FLOW)
def test_schedulers_of_flow_shift_by_the_size_of_the_image_as_the_models_own(name: str) -> None:
    own = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    made = make_scheduler(name, own)
    given = {} if OF_FLOW[name].options else {"sigmas": SIGMAS}
    made.set_timesteps(len(SIGMAS), mu=0.8, **given)
    own.set_timesteps(sigmas=SIGMAS, mu=0.8)
    assert torch.allclose(made.sigmas.float(), torch.as_tensor(own.sigmas), atol=5e-3)


TINY = ("--class", "cat", "--n", 1, "--num-inference-steps", 1, "--height", 64, "--width", 64)


def test_a_folder_goes_on_with_what_draws_its_pictures_and_tells_it(tmp_path: Path) -> None:
    words = ("generate", *TINY, "--out", tmp_path / "cats")
    done(*words)
    before = read_run(tmp_path / "cats").settings
    assert not {"scheduler", "quantize", "vae_tiling", "revision", "variant"} & set(before)
    assert "got another scheduler (None, now 'heun')" in refused(*words, "--scheduler", "heun")
    assert "vae_tiling (None, now True)" in refused(*words, "--vae-tiling")
    other = ("generate", *TINY, "--out", tmp_path / "others", "--scheduler", "heun", "--vae-tiling")
    done(*other)
    settings = read_run(tmp_path / "others").settings
    assert (settings["scheduler"], settings["vae_tiling"]) == ("heun", True)
    assert "scheduler ('heun', now None)" in refused(*other[:-3], "--vae-tiling")
    assert done(*other).startswith("1 item in ")


@pytest.fixture
def halves(tiny_random_folder: Path, tmp_path: Path) -> Path:
    """The random model with other weights beside its own, as variant fp16 of the UNet and VAE."""
    folder = shutil.copytree(tiny_random_folder, tmp_path / "model")
    pipe: Any = DiffusionPipeline.from_pretrained(folder)
    for part in (pipe.unet, pipe.vae):
        with torch.no_grad():
            for weight in part.parameters():
                weight.mul_(0.9)
    pipe.unet.save_pretrained(folder / "unet", variant="fp16")
    pipe.vae.save_pretrained(folder / "vae", variant="fp16", max_shard_size="5KB")
    return folder


def test_a_variant_is_loaded_where_a_part_has_it(halves: Path, pipe: Any) -> None:
    assert len(list((halves / "vae").glob("*.fp16-*.safetensors"))) > 1
    loaded: Any = load(resolve(str(halves), variant="fp16"), "cpu")
    for part in ("unet", "vae"):
        found, known = (dict(getattr(one, part).named_parameters()) for one in (loaded, pipe))
        assert all(torch.equal(found[name], 0.9 * weight) for name, weight in known.items())
    assert same(drawn(load(resolve(str(halves)), "cpu")), drawn(pipe))


def test_the_fingerprint_is_of_the_variant_that_is_loaded(halves: Path) -> None:
    def of(variant: str | None) -> str:
        return fingerprint(resolve(str(halves), variant=variant))

    whole, half = of(None), of("fp16")
    assert whole != half
    for path in (halves / "unet").glob("*.safetensors"):
        if ".fp16" not in path.name:
            path.unlink()
    assert of("fp16") == half
    with pytest.raises(InputError, match=r"expected weights of no variant in .*unet.*choose a"):
        load(resolve(str(halves)), "cpu")
    with pytest.raises(InputError, match=r"variant that .* has \(fp16\), got 'bf16'"):
        resolve(str(halves), variant="bf16")
    assert (has_weights(halves), has_weights(halves, "fp16")) == (False, True)


def test_in_the_hubs_cache_weights_that_come_later_leave_the_fingerprint(
    halves: Path, tmp_path: Path
) -> None:
    snapshot = shutil.copytree(halves, tmp_path / "snapshots" / "a1b2")
    both = fingerprint(resolve(str(snapshot)))
    for path in [*snapshot.rglob("*.fp16*")]:
        path.unlink()
    assert fingerprint(resolve(str(snapshot))) == both
    assert fingerprint(resolve(str(halves))) != both


def test_revision_and_variant_are_those_of_the_download(
    halves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def download(hub_id: str, **options: Any) -> str:
        asked.append((hub_id, options["revision"], options["variant"]))
        return str(halves)

    def indexed(hub_id: str, name: str, revision: str) -> None:
        assert (hub_id, name, revision) == ("someone/model", "model_index.json", "v2")

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", indexed)
    for name in ("someone/model", "sd15"):
        fingerprint(resolve(name, "v2", "fp16"))
        assert {one[1:] for one in asked} == {("v2", "fp16")}
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"got 'a/b', revision 'v2', variant 'fp16' \("):
        resolve("a/b", "v2", "fp16")


def test_only_the_network_and_large_text_encoders_are_quantized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "diffumask.models.quantization._config", lambda library, kind, dtype: (library, kind)
    )
    index = {
        "_class_name": "StableDiffusion3Pipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": [None, None],
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "tokenizer_3": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    made = quantizations("int8", index, torch.float32)
    assert made == {
        "text_encoder_3": ("transformers", "int8"),
        "transformer": ("diffusers", "int8"),
    }


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffumask.models.quantization.find_spec", lambda name: None)
    line = refused("generate", "--class", "cat", "--device", "cpu", "--quantize", "int8")
    assert "expected the library torchao to quantize to int8, got none; pip install" in line
    assert "'diffumask[quantize]'" in line
    with pytest.raises(InputError, match="library bitsandbytes to quantize to nf4"):
        Loading(quantize="nf4").check_device("cuda")


def test_products_of_8_bits_are_not_left_to_float16() -> None:
    assert Loading(quantize="int8").find_dtype("auto", CPU) == torch.float32
    with pytest.raises(InputError, match="expected dtype bfloat16 or float32 with quantize int8"):
        Loading(quantize="int8").find_dtype("float16", CPU)


def test_a_segmentator_reads_no_decoder_in_parts(tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    head.touch()
    words = ("generate", "--class", "cat", "--mask-source", "segmentator", "--segmentator", head)
    for more in (["--vae-tiling"], ["--offload", "sequential"]):
        assert "expected a VAE that decodes whole with a Segmentator" in refused(*words, *more)


def test_calibrate_takes_the_model_of_its_data_as_it_is(tmp_path: Path) -> None:
    words = ("calibrate", "--class", "cat", "--out", tmp_path / "t.json", "--data", tmp_path)
    words += ("--reference", "masks:there")
    assert "expected no scheduler beside data" in refused(*words, "--scheduler", "ddim")


def test_a_lora_is_drawn_with_and_taken_off_while_weights_wait_elsewhere(
    own: Any, pipe: DiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # diffusers takes its hooks off, and asks anew for an accelerator
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.get_device", lambda: "cpu:0")
    peft = pytest.importorskip("peft")
    other = copy.deepcopy(pipe.unet)
    other.add_adapter(
        peft.LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)
    )
    layers = peft.get_peft_model_state_dict(other)
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)
    lora = read_lora(next(tmp_path.glob("*.safetensors")))
    OFFLOADS["model"](own)
    with lora_applied(own, lora):
        with_lora = drawn(own)
    assert not same(with_lora, drawn(pipe))
    assert same(drawn(own), drawn(pipe))


def test_remask_reads_the_vae_of_the_revision_and_variant_of_the_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str | None, ...]] = []

    def found(*which: str | None) -> ModelSpec:
        asked.append(which)
        raise InputError("expected nothing more")

    monkeypatch.setattr(diffumask.models, "resolve", found, raising=False)
    run = Run({"model": "owner/name", "revision": "v2", "variant": "fp16"}, {}, ())
    recipe: Any = SimpleNamespace(source=SimpleNamespace(head=Path("head")))
    for model in (None, "other"):
        options = RemaskOptions(folder=Path(), out="out", model=model)
        with pytest.raises(InputError, match="nothing more"):
            _loaded(options, recipe, run)
    assert asked == [("owner/name", "v2", "fp16"), ("other",)]


def test_channels_last_draws_the_same_up_to_rounding(
    tiny_random_folder: Path, pipe: DiffusionPipeline
) -> None:
    loading = Loading(channels_last=True)
    made: Any = load(resolve(str(tiny_random_folder)), "cpu", loading=loading)
    for part in (made.unet.conv_in, made.vae.decoder.conv_in):
        assert part.weight.is_contiguous(memory_format=torch.channels_last)
    assert same(drawn(made), drawn(pipe))
    assert loading.describe() == {"channels_last": True}


def test_weights_of_videos_have_no_channels_last() -> None:
    network, vae = torch.nn.Linear(2, 2), torch.nn.Conv3d(2, 3, 3)
    pipe = SimpleNamespace(transformer=network, vae=vae, to=lambda device: None)
    Loading(channels_last=True).apply(pipe, CPU)
    assert vae.weight.is_contiguous()


def test_a_compiled_unet_draws_and_shows_the_same(
    tiny_random_folder: Path, pipe: DiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The checks of types at run time are for the tests alone, and cannot be compiled.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    loading = Loading(compile=True)
    made: Any = load(resolve(str(tiny_random_folder)), "cpu", loading=loading)
    assert made.unet._compiled_call_impl is not None
    assert same(drawn(made), drawn(pipe))
    torch.compiler.reset()
    assert loading.describe() == {"compile": True}


def test_a_machine_without_a_compiler_is_told_in_one_line(
    tiny_random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("InvalidCxxCompiler: no g++\n\nand a page of advice")

    monkeypatch.setattr(torch, "compile", lambda _: fail)
    with pytest.raises(InputError, match=r"on cpu .*got none: InvalidCxxCompiler: no g\+\+; leave"):
        load(resolve(str(tiny_random_folder)), "cpu", loading=Loading(compile=True))


def test_what_cannot_be_compiled_is_refused_before_it_is_loaded(flux_folder: Path) -> None:
    words = ("generate", "--class", "cat", "--compile")
    message = refused(*words, "--model", flux_folder)
    assert "expected a UNet to compile, got FluxTransformer2DModel" in message
    assert "got offload beside it" in refused(*words, "--offload", "model")
    assert "got quantize beside it" in refused(*words, "--quantize", "int8")
