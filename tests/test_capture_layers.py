"""What layers that are cached, merged or repeated leave of maps, and what autocast does."""

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.hooks import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast
from refusals import refused, with_parts
from slow_reference import (
    BIRD,
    Kept,
    SlowReference,
    every_other,
    largest_error,
    needs_bfloat16,
    run,
)

from diffumask.attention.aggregate import aggregate
from diffumask.attention.capture import capture
from diffumask.attention.probabilities import attend, pixel_attention, word_attention
from diffumask.attention.propagate import propagated
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric


@pytest.fixture
def own(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline with a UNet of its own."""
    return with_parts(pipe, unet=copy.deepcopy(pipe.unet))


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


@needs_bfloat16
def test_autocast_does_not_reach_what_is_captured(own: Any) -> None:
    slow = SlowReference(own, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with slow.watching(), capture(own, ["bird"], self_attention=True) as attention:
            run(own, BIRD, 2)
        assert largest_error(own, attention, slow, [BIRD]) < 1e-5


def test_autocast_does_not_reach_what_is_made_of_it(pipe: Any) -> None:
    with capture(pipe, ["bird"], self_attention=True, heads=True) as attention:
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
