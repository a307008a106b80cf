"""Models that were distilled to few steps: guidance is an input of the network, or off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import done, refused
from conftest import TEXT_WIDTH, random_unet
from diffusers import (
    EulerAncestralDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from slow_reference import BIRD, PLANE, check

from diffumask import Prompt, Target, observe
from diffumask.errors import InputError
from diffumask.models import MODELS, load, resolve
from diffumask.models.families import LCM
from diffumask.sampling.calling import call_arguments
from diffumask.sampling.presence import tells_presence
from diffumask.sampling.settings import SampleSettings

TWO, WORDS = [BIRD, PLANE], [["bird"], ["potted plant", "aeroplane"]]
CONDITION_WIDTH = 16


@pytest.fixture(scope="module", params=[LatentConsistencyModelPipeline, StableDiffusionPipeline])
def lcm_folder(request, tmp_path_factory, pipe) -> Path:
    """Folder of a random latent consistency model, by both of the pipelines that draw with one."""
    torch.manual_seed(0)
    blocks = {
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "time_cond_proj_dim": CONDITION_WIDTH,
    }
    parts = pipe.components | {
        "unet": random_unet(blocks),
        "scheduler": LCMScheduler(steps_offset=1),
    }
    folder = tmp_path_factory.mktemp("models") / "lcm"
    request.param(**parts, requires_safety_checker=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lcm(lcm_folder) -> Any:
    return load(resolve(str(lcm_folder)), "cpu")


def test_capture_of_a_latent_consistency_model_is_exact(lcm):
    check(lcm, TWO, WORDS, steps=4, guidance_scale=8.0)


def test_a_folder_says_that_guidance_is_an_input(lcm_folder, lcm):
    spec = resolve(str(lcm_folder))
    assert (spec.family, spec.num_inference_steps, spec.guidance_scale) == (LCM, 4, 8.0)
    conditions = []

    def see(_module, _args, told):
        conditions.append(told["timestep_cond"])

    hook = lcm.unet.register_forward_pre_hook(see, with_kwargs=True)
    images = []
    for guidance in (2.0, 8.0):
        settings = SampleSettings(3, guidance, 64, 64)
        images.append(np.array(lcm(**call_arguments(lcm, [BIRD], [0], settings)).images[0]))
    prompt = Prompt(BIRD, (Target("bird", "bird", 1),))
    observe(lcm, [images[0]], [prompt], seeds=[0])
    hook.remove()
    assert all(one.shape == (1, CONDITION_WIDTH) for one in conditions)
    assert (images[0] != images[1]).any()
    assert torch.equal(conditions[-1], conditions[3])  # pictures are shown at 8
    assert not torch.equal(conditions[0], conditions[3])
    assert not tells_presence(lcm)


def test_generate_takes_it_and_refuses_what_it_cannot_do(lcm_folder, tmp_path):
    words = (
        "generate",
        "--model",
        lcm_folder,
        "--class",
        "bird",
        "--n",
        1,
        "--out",
        tmp_path / "o",
    )
    assert "takes none" in refused(*words, "--negative-prompt", "snow")
    small = ("--height", 16, "--width", 24, "--vocabulary", "voc")
    message = refused(*words, *small, "--num-inference-steps", 60)
    assert "expected at most 50 steps with LCMScheduler, got 60" in message
    assert done(*words, *small).startswith("1 item")


def test_steps_of_a_scheduler_are_checked_before_it_is_called(lcm):
    settings = SampleSettings(51, 8.0, 64, 64)
    with pytest.raises(InputError, match="at most 50 steps"):
        call_arguments(lcm, [BIRD], [0], settings)


@pytest.mark.parametrize("steps", [1, 4])
def test_capture_of_one_without_guidance_is_exact(xl_pipe, steps):
    scheduler = EulerAncestralDiscreteScheduler(timestep_spacing="trailing")  # of SDXL-Turbo
    turbo = StableDiffusionXLPipeline(**(xl_pipe.components | {"scheduler": scheduler}))
    check(turbo, TWO, WORDS, steps=steps, guidance_scale=0.0)


def test_distilled_models_have_names_with_few_steps():
    for name in ("lcm", "sdxl-turbo", "schnell"):
        assert MODELS[name].num_inference_steps == 4
    assert MODELS["sdxl-turbo"].guidance_scale == 0
    assert not MODELS["lcm"].family.guidance_doubles
