"""By how much does capture slow a small transformer with joint attention down?

A network of the layout of Stable Diffusion 3 with random weights, as large as `tiny-mmdit`; its
latents are not decoded, so that nothing hides what is added. Each round samples the same images in
all ways, in random order. A ratio is that of two ways in the same round.
"""

import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from benchmarks.report import Report, middle, table, tell
from diffumask.attention.capture import capture
from diffumask.models import resolve

PLAIN = "without capture"
WORDS = ["bird", "grass"]
TEXT = "a photo of a bird on grass"
TEXT_WIDTH = 128


def small_pipeline(blocks: int, width: int) -> Any:
    """Return a pipeline with random weights that draws 32x32 latents in patches of 2."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(resolve("tiny").source, subfolder="tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    transformer = SD3Transformer2DModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        num_layers=blocks,
        attention_head_dim=width // 4,
        num_attention_heads=4,
        joint_attention_dim=2 * TEXT_WIDTH,
        caption_projection_dim=width,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=32,
    )
    small_vae: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 8, 8),
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    empty: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}
    pipe = StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(**small_vae),
        text_encoder=CLIPTextModelWithProjection(text).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text).eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        **empty,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ways(pipe: Any, blocks: int) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Return what is compared."""

    def every(name: str) -> bool:
        return True

    def without_last(name: str) -> bool:
        return f"blocks.{blocks - 1}." not in name

    return {
        PLAIN: nullcontext,
        "attention space, the default block": lambda: capture(pipe, WORDS),
        "the same with the self-attention": lambda: capture(pipe, WORDS, self_attention=True),
        "attention space, all blocks": lambda: capture(pipe, WORDS, layers=every),
        "output space, the default blocks": lambda: capture(pipe, WORDS, space="output"),
        "output space, all but the last block": lambda: capture(
            pipe, WORDS, space="output", layers=without_last
        ),
    }


def main(
    n: Annotated[int, "images a round"] = 8,
    rounds: int = 5,
    steps: int = 10,
    blocks: int = 8,
    width: int = 256,
) -> Report:
    """Measure all ways."""
    pipe = small_pipeline(blocks, width)
    compared = ways(pipe, blocks)
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    order = random.Random(0)
    for index in range(rounds + 1):
        for name in order.sample(list(compared), len(compared)):
            started = time.process_time()
            with compared[name]():
                pipe([TEXT] * n, num_inference_steps=steps, output_type="latent")
            if index:  # the first round warms up
                seconds[name].append(time.process_time() - started)
        tell(f"round {index} of {rounds}")
    rows = []
    for name, times in seconds.items():
        ratios = [t / base for t, base in zip(times, seconds[PLAIN], strict=True)]
        rows.append((name, f"{statistics.median(times) / n:.3f}", middle(ratios, 3)))
    facts = [
        f"{n} images a round, {steps} steps with guidance, {blocks} blocks of width {width},"
        f" 256 pixels and {77 + 256} tokens of text each; CPU seconds, {torch.get_num_threads()}"
        " threads.",
        "A ratio is the median over rounds of the time by that without capture.",
    ]
    lines = table(("way", "CPU s/image", "ratio"), rows)
    return Report("What capture adds to a transformer with joint attention", facts, lines)
