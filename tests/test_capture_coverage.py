"""Every kind of Stable Diffusion pipeline, and what people switch on in one."""

import copy
from collections.abc import Iterator
from typing import Any

import jaxtyping
import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from conftest import TEXT_WIDTH, random_unet, small_unet
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DModel,
)
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from slow_reference import BIRD, PLANE, check, run

from diffumask.attention.aggregate import aggregate
from diffumask.attention.capture import capture
from diffumask.errors import InputError

TWO = [BIRD, PLANE]
WORDS = [["bird"], ["potted plant", "aeroplane"]]
SIZE: dict[str, Any] = {"height": 64, "width": 48}

BLOCKS: dict[str, Any] = {
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": TEXT_WIDTH,
}


def with_parts(pipe: Any, kind: Any = StableDiffusionPipeline, **parts: Any) -> Any:
    return kind(**(pipe.components | parts), requires_safety_checker=False)


@pytest.fixture
def own(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline with a UNet and VAE of its own."""
    return with_parts(pipe, unet=copy.deepcopy(pipe.unet), vae=copy.deepcopy(pipe.vae))


def test_stable_diffusion_2(pipe: DiffusionPipeline) -> None:
    torch.manual_seed(0)
    form: dict[str, Any] = {"use_linear_projection": True, "upcast_attention": True}
    unet = random_unet(BLOCKS | form | {"attention_head_dim": [2, 4, 8]})
    scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    check(with_parts(pipe, unet=unet, scheduler=scheduler), TWO, WORDS)


def test_a_network_without_a_middle_and_with_two_layers_a_block(pipe: DiffusionPipeline) -> None:
    torch.manual_seed(0)
    form = {"mid_block_type": None, "layers_per_block": 2, "transformer_layers_per_block": 2}
    unet = random_unet(BLOCKS | form | {"attention_head_dim": 4})
    check(with_parts(pipe, unet=unet), BIRD, ["bird"])


def test_an_image_is_changed(pipe: DiffusionPipeline) -> None:
    image = torch.rand(2, 3, 64, 48)
    own = with_parts(pipe, StableDiffusionImg2ImgPipeline)
    check(own, TWO, WORDS, steps=4, image=image, strength=0.5)


@pytest.mark.parametrize("channels", [4, 9])
def test_a_hole_is_filled(pipe: DiffusionPipeline, channels: int) -> None:
    torch.manual_seed(0)
    unet = random_unet(BLOCKS | {"in_channels": channels, "attention_head_dim": 2})
    own = with_parts(pipe, StableDiffusionInpaintPipeline, unet=unet)
    check(own, TWO, WORDS, image=torch.rand(2, 3, 64, 48), mask_image=hole(), **SIZE)


def hole() -> torch.Tensor:
    mask = torch.zeros(2, 1, 64, 48)
    mask[..., 16:32, 8:24] = 1
    return mask


def test_xl_changes_an_image(xl_pipe: DiffusionPipeline) -> None:
    own = StableDiffusionXLImg2ImgPipeline(**xl_pipe.components)
    check(own, TWO, WORDS, steps=4, image=torch.rand(2, 3, 64, 48), strength=0.5)


def test_xl_fills_a_hole(xl_pipe: DiffusionPipeline) -> None:
    own = StableDiffusionXLInpaintPipeline(**xl_pipe.components)
    image = torch.rand(2, 3, 64, 48)
    check(own, TWO, WORDS, steps=4, image=image, mask_image=hole(), strength=0.9, **SIZE)


def test_xl_without_guidance_and_several_images_of_a_prompt(xl_pipe: DiffusionPipeline) -> None:
    check(xl_pipe, TWO, WORDS, guidance_scale=1.0, num_images_per_prompt=2)


@pytest.mark.parametrize("options", [{}, {"cross_attention_kwargs": {"scale": 0.5}}])
def test_lora_through_peft(own: StableDiffusionPipeline, options: dict) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    modules = ["to_q", "to_k", "to_v", "to_out.0"]
    config = peft.LoraConfig(r=2, target_modules=modules, init_lora_weights=False)
    own.unet.add_adapter(config)
    check(own, TWO, WORDS, **options)


def test_attention_slicing(own: StableDiffusionPipeline) -> None:
    own.enable_attention_slicing(1)
    check(own, TWO, WORDS)


def test_slices_and_tiles_of_the_vae(own: StableDiffusionPipeline) -> None:
    own.vae.enable_slicing()
    own.vae.enable_tiling()
    own.vae.tile_latent_min_size = 4
    check(own, TWO, WORDS)


def test_channels_last(own: StableDiffusionPipeline) -> None:
    own.unet.to(memory_format=torch.channels_last)
    check(own, TWO, WORDS)


# Without an accelerator, the hooks that enable_model_cpu_offload() and
# enable_sequential_cpu_offload() set are set here with the CPU as the device of execution.
def test_a_model_that_is_moved_when_it_is_called(own: StableDiffusionPipeline) -> None:
    _, hook = cpu_offload_with_hook(own.unet, execution_device="cpu")
    check(own, TWO, WORDS)
    hook.remove()


def test_weights_that_are_fetched_layer_by_layer(own: StableDiffusionPipeline) -> None:
    cpu_offload(own.unet, execution_device=torch.device("cpu"))
    assert own.unet.conv_in.weight.device.type == "meta"
    check(own, TWO, WORDS)


class Compilations:
    """A compiler that only counts its graphs."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compilations]:
    # The checks of types at run time are for the tests alone, and cannot be compiled.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch.compiler.reset()
    yield Compilations()
    torch.compiler.reset()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_network_has_no_graph_break_and_is_compiled_with_a_matrix_and_without(
    pipe: StableDiffusionPipeline, compilations: Compilations, in_place: bool
) -> None:
    network: Any = small_unet()
    own = with_parts(pipe, unet=network)
    maps: dict[str, dict[Any, torch.Tensor]] = {}
    image: dict[str, Any] = {}
    for key in ("plain", "compiled"):
        with capture(own, ["bird"], self_attention=True) as attention:
            image[key] = run(own, BIRD, steps=2)
        maps[key] = {**attention.maps, **{(0, *s): m for s, m in attention.self_matrices.items()}}
        if key == "plain" and in_place:
            network.compile(backend=compilations, fullgraph=True)
        elif key == "plain":
            own.unet = torch.compile(network, backend=compilations, fullgraph=True)

    assert compilations.graphs == 2
    with capture(own, ["grass"], steps=(0.5, 1.0), self_attention=True):
        run(own, BIRD, steps=4)
    assert compilations.graphs == 2  # neither a second capture nor other steps
    assert abs(image["plain"] - image["compiled"]).max() < 1e-5
    assert maps["plain"].keys() == maps["compiled"].keys()
    for key, expected in maps["plain"].items():
        assert (maps["compiled"][key] - expected).abs().max() < 1e-5


def test_an_ip_adapter_is_refused_by_name(own: StableDiffusionPipeline) -> None:
    layer = own.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    layer.set_processor(IPAdapterAttnProcessor2_0(32, TEXT_WIDTH))
    with (
        pytest.raises(InputError, match=r"mid_block.*attn2\.processor, got IPAdapterAttnProc"),
        capture(own, ["bird"]),
    ):
        pass


def test_a_pipeline_without_a_network_is_refused(pipe: DiffusionPipeline) -> None:
    own = with_parts(pipe, unet=None)
    with (
        pytest.raises(InputError, match=r"UNet or a transformer, got StableDiffusionPipeline"),
        capture(own, ["bird"]),
    ):
        pass


def test_a_pipeline_without_a_text_is_refused() -> None:
    unet = UNet2DModel(block_out_channels=(8, 8, 8, 8), norm_num_groups=4)
    own = DDPMPipeline(unet=unet, scheduler=DDPMScheduler())
    with (
        pytest.raises(InputError, match=r"UNet2DConditionModel.*got UNet2DModel"),
        capture(own, ["bird"]),
    ):
        pass


def test_weights_that_overflow_are_reported(own: StableDiffusionPipeline) -> None:
    own.to(dtype=torch.float16)
    with torch.no_grad():
        own.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.weight.mul_(1e5)
    with capture(own, ["bird"]) as attention:
        own(BIRD, num_inference_steps=1, output_type="latent", **SIZE)
    with pytest.raises(InputError, match="expected finite attention, got nan or infinity"):
        aggregate(attention, (64, 48))
    own.to(dtype=torch.float32)


def test_xl_has_its_two_text_encoders(xl_pipe: StableDiffusionXLPipeline) -> None:
    assert xl_pipe.tokenizer_2.pad_token != xl_pipe.tokenizer.pad_token
    check(xl_pipe, "a bird on grass and two sheep", ["bird", "sheep"], negative_prompt="snow")
