"""Runs whose maps would not be what they say are refused, and odd ones that are right are not."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from conftest import TEXT_WIDTH, random_unet
from diffusers import (
    ControlNetModel,
    HeunDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.hooks import (
    PyramidAttentionBroadcastConfig,
    apply_pyramid_attention_broadcast,
)
from diffusers.models.attention_processor import AttnProcessor
from slow_reference import BIRD, PLANE, Kept, SlowReference, check, largest_error, run
from transformers import CLIPTokenizer

from diffumask.affinity import propagated
from diffumask.aggregate import aggregate
from diffumask.attention import attend, pixel_attention, word_attention
from diffumask.capture import capture
from diffumask.errors import InputError
from diffumask.steps import check_trajectory

TWO = [BIRD, PLANE]
WORDS = [["bird"], ["potted plant", "aeroplane"]]
SIZE: dict[str, Any] = {"height": 64, "width": 48}


def with_parts(pipe: Any, kind: Any = StableDiffusionPipeline, **parts: Any) -> Any:
    return kind(**(pipe.components | parts), requires_safety_checker=False)


@pytest.fixture
def own(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline with a UNet of its own."""
    return with_parts(pipe, unet=copy.deepcopy(pipe.unet))


def refused(pipe: Any, message: str, steps: int = 2, prompt: Any = BIRD, **options: Any) -> None:
    """Check that a run is refused, and that the pipeline is as before, also what it set itself."""
    before = pipe.unet.attn_processors
    with pytest.raises(InputError, match=message), capture(pipe, ["bird"]):
        run(pipe, prompt, steps, **options)
    assert pipe.unet.attn_processors == before
    assert "encode_prompt" not in vars(pipe)


# Text


def test_padding_on_the_left_is_refused(pipe: Any, tokenizer_folder: Any) -> None:
    left = CLIPTokenizer.from_pretrained(tokenizer_folder, padding_side="left")
    refused(with_parts(pipe, tokenizer=left), "pads on the right, got CLIPTokenizer.*the left")


class OtherTokenizer:
    """Knows neither characters nor where padding goes, as that of ChatGLM."""

    padding_side = "right"
    is_fast = False

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tokenizer(*args, **kwargs)


def test_an_unknown_tokenizer_is_refused(own: Any) -> None:
    own.tokenizer = OtherTokenizer(own.tokenizer)
    refused(own, "tokenizer of CLIP or T5, got OtherTokenizer")


class Templated(StableDiffusionPipeline):
    """Puts words of its own before the prompt, as pipelines around language models do."""

    def encode_prompt(self, prompt: str, *args: Any, **kwargs: Any) -> Any:
        return super().encode_prompt(f"a photo of {prompt}", *args, **kwargs)


def test_words_that_a_pipeline_moves_are_refused(pipe: Any) -> None:
    signature = inspect.signature(StableDiffusionPipeline.encode_prompt)
    Templated.encode_prompt.__signature__ = signature  # type: ignore[attr-defined]
    refused(with_parts(pipe, Templated), "tokens of 'a bird on grass' from the start")


# Pipelines


def test_views_of_an_image_are_refused(own: Any) -> None:
    own.get_views = lambda: []
    refused(own, "sees the whole image, got StableDiffusionPipeline")


@pytest.mark.filterwarnings("ignore")
def test_panorama_is_refused(pipe: Any) -> None:
    own = with_parts(pipe, diffusers.StableDiffusionPanoramaPipeline)
    refused(own, "sees the whole image, got StableDiffusionPanorama")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_a_second_pass_per_step_is_refused(pipe: Any, guidance_scale: float) -> None:
    own = with_parts(pipe, diffusers.StableDiffusionSAGPipeline)
    refused(own, "one evaluation for each of 2 steps, got more", guidance_scale=guidance_scale)


@pytest.mark.filterwarnings("ignore")
def test_instruct_pix2pix_is_refused_by_name(pipe: Any) -> None:
    own = with_parts(pipe, diffusers.StableDiffusionInstructPix2PixPipeline)
    refused(own, "method encode_prompt, got StableDiffusionInstructPix2Pix", image=image())


def test_pipelines_of_several_prompts_are_refused_by_name(own: Any) -> None:
    own.encode_prompt = lambda editing_prompt: editing_prompt
    before = own.unet.attn_processors
    with (
        pytest.raises(InputError, match="one prompt an image, got StableDiff"),
        capture(own, ["bird"]),
    ):
        pass
    assert own.unet.attn_processors == before


def image() -> torch.Tensor:
    return torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))


def test_the_refiner_of_xl_has_one_text_encoder(xl_pipe: StableDiffusionXLPipeline) -> None:
    torch.manual_seed(0)
    form = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [2, 2, 4],
        "cross_attention_dim": TEXT_WIDTH,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 5 * 8 + TEXT_WIDTH,
    }
    parts: dict[str, Any] = xl_pipe.components | {"text_encoder": None, "tokenizer": None}
    parts["unet"] = random_unet(form)
    refiner = StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=True)
    options: dict[str, Any] = {"image": image(), "strength": 0.5}
    slow = SlowReference(refiner)
    with slow.watching(), capture(refiner, ["bird"]) as attention:
        run(refiner, BIRD, 4, **options)
    refiner.tokenizer = refiner.tokenizer_2  # where the slow reference looks for it
    assert largest_error(refiner, attention, slow, [BIRD]) < 1e-5


@pytest.mark.parametrize("guidance_scale", [0.0, 5.0])
def test_perturbed_attention_is_refused(pipe: Any, guidance_scale: float) -> None:
    parts = pipe.components | {"unet": copy.deepcopy(pipe.unet)}
    own = StableDiffusionPAGPipeline(**parts, pag_applied_layers=["mid"])
    refused(own, "this kind of guidance cannot", guidance_scale=guidance_scale, pag_scale=2.0)
    check(own, BIRD, ["bird"], pag_scale=0.0)


def test_a_control_net_is_no_obstacle(pipe: Any) -> None:
    net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(4, 4, 4, 4))
    own = with_parts(pipe, StableDiffusionControlNetPipeline, controlnet=net)
    check(own, BIRD, ["bird"], image=image(), **SIZE)


# Evaluations


def test_guidance_may_end_before_the_image_is_done(own: Any) -> None:
    def end_guidance(pipe: Any, step: int, timestep: Any, tensors: dict) -> dict:
        if step == 0:
            pipe._guidance_scale = 0.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
        return tensors

    names = ["prompt_embeds"]
    options = {"callback_on_step_end": end_guidance, "callback_on_step_end_tensor_inputs": names}
    check(own, TWO, WORDS, steps=3, **options)


@pytest.mark.parametrize(
    "change", [lambda both: both.chunk(2)[0], lambda both: both.flip(0), lambda both: both * 0.9]
)
def test_other_embeddings_on_the_way_are_refused(own: Any, change: Callable) -> None:
    def put(pipe: Any, step: int, timestep: Any, tensors: dict) -> dict:
        changed = change(tensors["prompt_embeds"])
        pipe._guidance_scale = 0.0 if len(changed) == 1 else 5.0
        return {"prompt_embeds": changed} if step == 0 else {}

    names = ["prompt_embeds"]
    options = {"callback_on_step_end": put, "callback_on_step_end_tensor_inputs": names}
    refused(own, "other embeddings at 2 of 3 evaluations", 3, **options)


def test_another_length_of_the_text_is_refused(own: Any) -> None:
    def put(pipe: Any, step: int, timestep: Any, tensors: dict) -> dict:
        return {"prompt_embeds": tensors["prompt_embeds"][:, :20]}

    names = ["prompt_embeds"]
    options = {"callback_on_step_end": put, "callback_on_step_end_tensor_inputs": names}
    refused(own, r"as it was encoded, \(77, 32\), got \(20, 32\)", **options)


def test_processors_that_change_on_the_way_are_refused(own: Any) -> None:
    def put(pipe: Any, *_: Any) -> dict:
        pipe.unet.set_attn_processor(AttnProcessor())
        return {}

    refused(own, r"processor of down_blocks.*attn2\.processor to stay", callback_on_step_end=put)


def test_views_of_another_size_are_refused(own: Any) -> None:
    with capture(own, ["bird"]):
        text, nothing = own.encode_prompt(BIRD, torch.device("cpu"), 1, True)
        own.unet(torch.zeros(2, 4, 8, 6), 1, torch.cat([nothing, text]))
        with pytest.raises(InputError, match=r"expected \(8, 6\) at each step, got \(8, 8\)"):
            own.unet(torch.zeros(2, 4, 8, 8), 1, torch.cat([nothing, text]))


def test_schedulers_that_repeat_a_timestep_are_no_second_pass(pipe: Any) -> None:
    heun = HeunDiscreteScheduler(steps_offset=1)
    own = with_parts(pipe, StableDiffusionImg2ImgPipeline, scheduler=heun)
    check(own, BIRD, ["bird"], steps=4, image=image(), strength=0.5)


@pytest.mark.parametrize("steps", [(0.8, 1.0), lambda i, n: i == n - 1])
def test_an_end_before_the_steps_that_count_is_refused(xl_pipe: Any, steps: Any) -> None:
    with (
        pytest.raises(InputError, match="to keep an evaluation, got none of 2; keep more"),
        capture(xl_pipe, ["bird"], steps=steps),
    ):
        xl_pipe(BIRD, num_inference_steps=4, denoising_end=0.5, output_type="latent", **SIZE)


def test_one_step_has_nothing_to_spread(own: Any) -> None:
    with (
        pytest.raises(InputError, match="expected two steps that count"),
        capture(own, ["bird"], self_attention=True),
    ):
        run(own, BIRD, 1)


@pytest.mark.parametrize(
    ("seen", "is_right"),
    [
        ([], True),
        ([900.0, 600.0, 300.0], True),
        ([600.0, 300.0], True),  # an image as input
        ([900.0, 300.0], True),
        ([902.0, 603.0, 301.5], True),  # rounded
        ([900.0, 900.0], False),
        ([600.0, 900.0], False),
        ([900.0, 600.0, 300.0, 300.0], False),
        ([700.0], False),
    ],
)
def test_a_trajectory_goes_through_each_timestep_once(seen: list[float], is_right: bool) -> None:
    timesteps = [900.0, 600.0, 300.0]
    if is_right:
        check_trajectory(seen, timesteps)
        return
    with pytest.raises(InputError, match="several passes or views per step"):
        check_trajectory(seen, timesteps)


# Layers


def every_other(module: Any) -> None:
    """Take a module's output of the call before at each second call, as caches do."""
    forward, kept = module.forward, []

    def cached(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept.append(kept[-1] if len(kept) % 2 else forward(*args, **kwargs))
        return kept[-1]

    module.forward = MethodType(cached, module)


def broadcast(unet: Any) -> None:
    """Skip all cross-attention at each second step."""
    config = PyramidAttentionBroadcastConfig(
        cross_attention_block_skip_range=2,
        cross_attention_timestep_skip_range=(-1, 1001),
        cross_attention_block_identifiers=("blocks", "transformer_blocks"),
        current_timestep_callback=lambda: 500,
    )
    apply_pyramid_attention_broadcast(unet, config)


def test_maps_are_means_of_what_a_cache_of_blocks_leaves(own: Any) -> None:
    every_other(own.unet.mid_block)
    slow = SlowReference(own)
    with slow.watching(), capture(own, ["bird"]) as attention:
        run(own, BIRD, 4)
    n_layers = len(slow.layers())
    assert len(slow.kept) == 4 * (n_layers - 1) + 2
    assert largest_error(own, attention, slow, [BIRD]) < 1e-5


def test_maps_are_means_of_what_a_cache_of_attention_leaves(own: Any) -> None:
    broadcast(own.unet)
    slow = SlowReference(own)
    with slow.watching(), capture(own, ["bird"]) as attention:
        run(own, BIRD, 4)
    timesteps = list(dict.fromkeys(kept.timestep for kept in slow.kept))

    def is_computed(kept: Kept) -> bool:
        return timesteps.index(kept.timestep) % 2 == 0

    assert largest_error(own, attention, slow, [BIRD], is_computed) < 1e-5


def test_a_layer_that_is_never_called_is_refused(own: Any) -> None:
    block = own.unet.mid_block.attentions[0].transformer_blocks[0]
    block.attn2.forward = lambda hidden_states, *args, **kwargs: hidden_states
    refused(own, r"attention at mid_block.* got it 0 times; disable what skips")


def test_a_layer_that_is_called_twice_is_refused(own: Any) -> None:
    layer = own.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    forward = layer.forward
    layer.forward = lambda *args, **kwargs: (forward(*args, **kwargs), forward(*args, **kwargs))[0]
    refused(own, r"at mid_block.*in each of 2 evaluations.*got it 4 times")


def call_with_gradients(pipe: Any) -> None:
    text, _ = pipe.encode_prompt(BIRD, torch.device("cpu"), 1, False)
    latents = torch.zeros(1, 4, 8, 6, requires_grad=True)
    pipe.unet(latents, 1, text.detach()).sample.sum().backward()


def test_recomputed_layers_are_refused(own: Any) -> None:
    own.unet.enable_gradient_checkpointing()
    own.unet.train()
    with pytest.raises(InputError, match="skips or repeats layers"), capture(own, ["bird"]):
        call_with_gradients(own)


def test_merged_pixels_are_refused(own: Any) -> None:
    layer = own.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    forward = layer.forward
    layer.forward = lambda hidden, *args, **kwargs: forward(hidden[:, ::2], *args, **kwargs)
    refused(own, "2 x 2 pixels at mid_block.*got 2: layers that merge")


def test_a_cache_that_leaves_guidance_out_is_refused(own: Any) -> None:
    layer = own.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    forward = layer.forward

    def half(hidden: Any, encoder_hidden_states: Any, **kwargs: Any) -> Any:
        return forward(hidden.chunk(2)[1], encoder_hidden_states.chunk(2)[1], **kwargs)

    layer.forward = half
    refused(own, "layers to see the batch of 2, got 1")


def test_images_among_the_words_are_refused(own: Any) -> None:
    own.unet.register_to_config(encoder_hid_dim_type="text_image_proj")
    refused(own, "attends to text alone, got one with text_image_proj")


# Precision


@pytest.mark.parametrize("self_attention", [True, "matrix"])
def test_autocast_does_not_reach_what_is_captured(own: Any, self_attention: bool | str) -> None:
    slow = SlowReference(own, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with slow.watching(), capture(own, ["bird"], self_attention=self_attention) as attention:
            run(own, BIRD, 2)
        assert largest_error(own, attention, slow, [BIRD]) < 1e-5


def test_autocast_does_not_reach_what_is_made_of_it(pipe: Any) -> None:
    with capture(pipe, ["bird"], self_attention="matrix", heads=True) as attention:
        run(pipe, BIRD, 2)
    for of_attention in (
        partial(aggregate, size_hw=(64, 48)),
        partial(aggregate, size_hw=(64, 48), preset="daam"),
        propagated,
    ):
        (expected,) = of_attention(attention)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (got,) = of_attention(attention)
        assert np.array_equal(got["bird"], expected["bird"])


def test_autocast_does_not_reach_the_formulas() -> None:
    q, k = torch.randn(2, 1, 2, 30, 8, generator=torch.Generator().manual_seed(0))
    values, positions = torch.rand(1, 30, 3), torch.tensor([[1, 4]])
    for formula in (
        partial(word_attention, q, k, positions, 0.5),
        partial(pixel_attention, q, k, 0.5),
        partial(attend, q, k, values, 0.5),
    ):
        expected = formula()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(formula(), expected)
