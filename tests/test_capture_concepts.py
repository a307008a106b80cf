"""Concepts that ride the stream of the text, held to their definition written out."""

from typing import Any, cast

import concept_reference
import pytest
import torch
from concept_reference import TWO, WANTED, attended, heads, shares
from diffusers import FluxPipeline, StableDiffusionPipeline
from diffusers.hooks import FirstBlockCacheConfig
from diffusers.models.embeddings import apply_rotary_emb
from joint_reference import N_T5
from random_transformers import sd3
from slow_reference import BIRD, run
from torch import Tensor
from transformers import CLIPTokenizer

from diffumask.attention.capture import capture
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric


def normed(norm: Any, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    rotary: Any = cos, sin
    return cast(Tensor, apply_rotary_emb(x, rotary))


def concept_maps(given: dict[str, Any], concepts: Tensor, row: int) -> tuple[Tensor, Tensor | None]:
    """Write ConceptAttention out for one image and block: its maps, and the concepts after it."""
    block, temb = given["block"], given["temb"][row][None]
    layer, image = block.attn, given["hidden_states"][row][None]
    text = given["encoder_hidden_states"][row][None]
    is_last = getattr(block, "context_pre_only", False)
    image = block.norm1(image, emb=temb)[0]
    gates: list[Tensor] = []
    if is_last:
        of_text, of_concepts = (block.norm1_context(one, temb) for one in (text, concepts))
    else:
        of_text = block.norm1_context(text, emb=temb)[0]
        of_concepts, *gates = block.norm1_context(concepts, emb=temb)

    q, k, v = (heads(to(image), layer) for to in (layer.to_q, layer.to_k, layer.to_v))
    q, k = normed(layer.norm_q, q), normed(layer.norm_k, k)
    adds = (layer.add_q_proj, layer.add_k_proj, layer.add_v_proj)
    (_, kt, vt), (qc, kc, vc) = (
        [heads(to(one), layer) for to in adds] for one in (of_text, of_concepts)
    )
    kt, kc = (normed(layer.norm_added_k, one) for one in (kt, kc))
    qc = normed(layer.norm_added_q, qc)
    if given.get("image_rotary_emb") is not None:
        cos, sin = given["image_rotary_emb"]
        n_text, n_concepts = text.shape[1], concepts.shape[1]
        first = [0] * n_concepts
        q, k = (rotated(one, cos[n_text:], sin[n_text:]) for one in (q, k))
        kt = rotated(kt, cos[:n_text], sin[:n_text])
        qc, kc = (rotated(one, cos[first], sin[first]) for one in (qc, kc))

    pixels = attended(q, torch.cat([kt, k], 2), torch.cat([vt, v], 2))
    out = attended(qc, torch.cat([kc, k], 2), torch.cat([vc, v], 2))
    maps = shares(out, pixels)
    if is_last:
        return maps, None
    gate, shift_mlp, scale_mlp, gate_mlp = gates
    concepts = concepts + gate[:, None] * layer.to_add_out(out.transpose(1, 2).flatten(2))
    fed = block.norm2_context(concepts) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
    return maps, concepts + gate_mlp[:, None] * block.ff_context(fed)


def check(pipe: Any, tokenizer: Any, read: set[int], **options: Any) -> None:
    also = {"prompt_3": None, "do_classifier_free_guidance": False}
    given = {"prompt_2": None, "max_sequence_length": N_T5}
    given |= also if hasattr(pipe, "tokenizer_3") else {}

    def embed(concept: str) -> Tensor:
        (row,) = pipe.encode_prompt(prompt=concept, **given)[0]
        places = list(word_positions(tokenizer, concept, concept))
        return pipe.transformer.context_embedder(row[places].mean(0))

    concept_reference.check(pipe, read, embed, concept_maps, **options)


@pytest.mark.parametrize("read", [{0}, {1}, {0, 1}])
def test_flux(flux: FluxPipeline, read: set[int]) -> None:
    check(flux, flux.tokenizer_2, read)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("config", [{}, {"qk_norm": "rms_norm", "dual_attention_layers": (0,)}])
def test_stable_diffusion_3(tokenizer: CLIPTokenizer, config: dict, guidance_scale: float) -> None:
    check(sd3(tokenizer, (None, None), **config), tokenizer, {0, 1}, guidance_scale=guidance_scale)


def test_maps_do_not_depend_on_the_batch_and_shares_are_of_one(flux: FluxPipeline) -> None:
    noise = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(0))

    def maps(which: slice) -> Any:
        with capture(flux, WANTED[which]) as attention:
            run(flux, TWO[which], 1, max_sequence_length=N_T5, latents=noise[which])
        return attention

    of_both, alone = maps(slice(2)), maps(slice(1, 2))
    for word in WANTED[1]:
        got = of_both.maps[4, 3][1, list(of_both.columns(1, word))]
        expected = alone.maps[4, 3][0, list(alone.columns(0, word))]
        assert (got - expected).abs().max() < 1e-5
        assert 0 < got.min() < got.max() < 1


def test_several_images_of_a_prompt_have_their_own_maps(flux: FluxPipeline) -> None:
    with capture(flux, ["bird"]) as attention:
        run(flux, BIRD, 1, max_sequence_length=N_T5, num_images_per_prompt=2)
    first, second = attention.maps[4, 3]
    assert (first - second).abs().max() > 1e-5


def test_the_second_pass_of_guidance_is_left_out(flux: FluxPipeline) -> None:
    options = {"true_cfg_scale": 1.0, "max_sequence_length": N_T5}
    maps = []
    for scale in (1.0, 1.0 + 1e-6):  # the second is a guidance that moves nothing
        options |= {"true_cfg_scale": scale, "negative_prompt": BIRD}
        with capture(flux, ["bird"]) as attention:
            run(flux, BIRD, 2, **options)
        maps.append(attention.maps[4, 3])
    assert (maps[0] - maps[1]).abs().max() < 1e-4


def test_the_pipeline_is_as_before_after_an_error(flux: FluxPipeline) -> None:
    processors = dict(flux.transformer.attn_processors)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), capture(flux, ["bird"]):
        run(flux, BIRD, 1, max_sequence_length=N_T5, callback_on_step_end=fail)
    assert dict(flux.transformer.attn_processors) == processors
    assert not any(module._forward_hooks for module in flux.transformer.modules())


def test_what_has_no_stream_of_the_text_is_refused(
    flux: FluxPipeline, pipe: StableDiffusionPipeline
) -> None:
    with (
        pytest.raises(InputError, match=r"a stream of the text, got single_transformer_blocks\.0"),
        capture(flux, ["bird"], space="output", layers=lambda name: True),
    ):
        pass
    with (
        pytest.raises(InputError, match="expected space attention of this network, got 'output'"),
        capture(pipe, ["bird"], space="output"),
    ):
        pass
    with (
        pytest.raises(InputError, match="heads of attention, got space output"),
        capture(flux, ["bird"], heads=True),
    ):
        pass
    flux.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e6))
    with pytest.raises(InputError, match="without a cache"), capture(flux, ["bird"]):
        pass
