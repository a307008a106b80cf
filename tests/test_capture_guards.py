"""Runs whose maps would not be what they say are refused, and odd ones that are right are not."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from conftest import TEXT_WIDTH, random_unet
from diffusers import (
    ControlNetModel,
    HeunDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionGLIGENPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.attention_processor import AttnProcessor
from refusals import refused, with_parts
from slow_reference import BIRD, PLANE, SlowReference, check, largest_error, run
from transformers import CLIPTokenizer

from diffumask.attention.capture import capture
from diffumask.attention.steps import check_trajectory
from diffumask.errors import InputError

TWO = [BIRD, PLANE]
WORDS = [["bird"], ["potted plant", "aeroplane"]]
SIZE: dict[str, Any] = {"height": 64, "width": 48}


@pytest.fixture
def own(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline with a UNet of its own."""
    return with_parts(pipe, unet=copy.deepcopy(pipe.unet))


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


@pytest.mark.parametrize("self_attention", [False, True])
def test_layers_for_boxes_are_no_self_attention(pipe: Any, self_attention: bool) -> None:
    torch.manual_seed(0)
    form = {
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_type": "gated",
    }
    parts: dict[str, Any] = {**pipe.components, "unet": random_unet(form)}
    del parts["image_encoder"]
    own = StableDiffusionGLIGENPipeline(**parts, requires_safety_checker=False)
    boxes: dict[str, Any] = {"gligen_phrases": ["a bird"], "gligen_boxes": [[0.1, 0.1, 0.5, 0.5]]}
    slow = SlowReference(own)
    with slow.watching(), capture(own, ["bird"], self_attention=self_attention) as attention:
        run(own, BIRD, 2, **boxes)
    assert largest_error(own, attention, slow, [BIRD]) < 1e-5


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
