"""Capture in Chroma: the blocks of FLUX.1 under a mask, with guidance by a second pass."""

import copy
from typing import Any

import concept_reference
import pytest
import torch
from concept_reference import heads, shares
from diffusers import ChromaPipeline
from diffusers.models import embeddings
from joint_reference import N_T5, all_probabilities, check, matrix_of
from random_transformers import make_chroma
from slow_reference import BIRD, HALVES, PLANE, run
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning"),  # as diffusers builds it
]

TWO = [BIRD, PLANE]
WANTED = [["bird"], ["potted plant", "aeroplane"]]
OPTIONS: dict[str, Any] = {"max_sequence_length": N_T5}
N_KEYS = N_T5 + 12  # pixels of 8x6 latents in patches of 2x2


def every(name: str) -> bool:
    return True


@pytest.fixture
def chroma(t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast) -> ChromaPipeline:
    return make_chroma(t5, t5_tokenizer)


def check_words(pipe: ChromaPipeline, **options: Any) -> Any:
    return check(
        pipe,
        WANTED,
        TWO,
        slice(N_T5, None),
        lambda text, word: list(word_positions(pipe.tokenizer, text, word)),
        n_keys=N_KEYS,
        per_evaluation=4,
        **options,
    )


@pytest.mark.parametrize("n_passes", [1, 2])
@pytest.mark.parametrize("n_images", [1, 2])
def test_words_are_exact(chroma: ChromaPipeline, n_passes: int, n_images: int) -> None:
    attention = check_words(
        chroma,
        n_passes=n_passes,
        guidance_scale={1: 1.0, 2: 5.0}[n_passes],
        negative_prompt=["snow", "sand on grass"],
        num_images_per_prompt=n_images,
    )
    assert attention.n_heads == {(4, 3): 8}


@pytest.mark.parametrize(("dtype", "bound"), HALVES)
def test_half_precision(chroma: ChromaPipeline, dtype: str, bound: float) -> None:
    half = ChromaPipeline(**copy.deepcopy(chroma.components))
    half.to(dtype=getattr(torch, dtype))
    check_words(half, bound=bound, n_passes=2)


def test_guidance_that_a_callback_ends_leaves_no_step_out(chroma: ChromaPipeline) -> None:
    def end_guidance(pipe: ChromaPipeline, step: int, *_: Any) -> dict[str, Any]:
        pipe._guidance_scale = 1.0
        return {}

    options = OPTIONS | {"callback_on_step_end": end_guidance}
    with all_probabilities(N_KEYS) as kept:
        run(chroma, TWO, 3, **options)
    with capture(chroma, WANTED, space="attention", layers=every) as attention:
        run(chroma, TWO, 3, **options)
    passes = torch.stack(kept).unflatten(0, (4, 4))
    mean = passes[[0, 2, 3]].mean((0, 1, 3))[1, N_T5:]  # all but the one of guidance
    places = list(word_positions(chroma.tokenizer, PLANE, "aeroplane"))
    got = attention.maps[4, 3][1, list(attention.columns(1, "aeroplane"))].flatten(1).mT
    assert (got - mean[:, places]).abs().max() < 1e-5


rotated: Any = embeddings.apply_rotary_emb  # which says that it takes one tensor


def concept_maps(given: dict[str, Any], concepts: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Write ConceptAttention out for one image and block: its maps, and the concepts after it."""
    block, mask = given["block"], given["attention_mask"][row]
    layer, temb = block.attn, given["temb"][row][None]
    image, text = (given[name][row][None] for name in ("hidden_states", "encoder_hidden_states"))
    image = block.norm1(image, emb=temb[:, :6])[0]
    text = block.norm1_context(text, emb=temb[:, 6:])[0]
    of_concepts, gate, shift, scale, gate_mlp = block.norm1_context(concepts, emb=temb[:, 6:])

    q, k, v = (heads(to(image), layer) for to in (layer.to_q, layer.to_k, layer.to_v))
    adds = (layer.add_q_proj, layer.add_k_proj, layer.add_v_proj)
    (_, kt, vt), (qc, kc, vc) = (
        [heads(to(one), layer) for to in adds] for one in (text, of_concepts)
    )
    q, k, qc = layer.norm_q(q), layer.norm_k(k), layer.norm_added_q(qc)
    kt, kc = layer.norm_added_k(kt), layer.norm_added_k(kc)
    cos, sin = given["image_rotary_emb"]
    n_text = text.shape[1]
    q, k = (rotated(one, (cos[n_text:], sin[n_text:])) for one in (q, k))
    kt = rotated(kt, (cos[:n_text], sin[:n_text]))
    first = tuple(one[:1].expand(concepts.shape[1], -1) for one in (cos, sin))
    qc, kc = (rotated(one, first) for one in (qc, kc))

    def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | float) -> Tensor:
        return (q @ k.mT * q.shape[-1] ** -0.5 + mask).softmax(-1) @ v

    pixels = attended(q, torch.cat([kt, k], 2), torch.cat([vt, v], 2), mask)
    out = attended(qc, torch.cat([kc, k], 2), torch.cat([vc, v], 2), 0.0)
    concepts = concepts + gate[:, None] * layer.to_add_out(out.transpose(1, 2).flatten(2))
    fed = block.norm2_context(concepts) * (1 + scale[:, None]) + shift[:, None]
    return shares(out, pixels), concepts + gate_mlp[:, None] * block.ff_context(fed)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("read", [{0}, {0, 1}])
def test_concepts_are_exact(chroma: ChromaPipeline, read: set[int], guidance_scale: float) -> None:
    def embed(concept: str) -> Tensor:
        encode: Any = chroma.encode_prompt
        (row,) = encode(concept, do_classifier_free_guidance=False, **OPTIONS)[0]
        places = list(word_positions(chroma.tokenizer, concept, concept))
        return chroma.transformer.context_embedder(row[places].mean(0))

    concept_reference.check(chroma, read, embed, concept_maps, guidance_scale=guidance_scale)


def test_the_matrix_is_the_part_from_pixels_to_pixels(chroma: ChromaPipeline) -> None:
    with all_probabilities(N_KEYS) as kept:
        run(chroma, TWO, 2, guidance_scale=1.0, **OPTIONS)
    options: dict[str, Any] = {
        "layers": every,
        "self_attention": True,
        "matrix_strides": EVERY_MATRIX,
    }
    with capture(chroma, WANTED, space="attention", **options) as attention:
        run(chroma, TWO, 2, guidance_scale=1.0, **OPTIONS)
    for image in (0, 1):
        expected = matrix_of(kept, slice(N_T5, None), image)
        assert (attention.self_matrices[4, 3][image] - expected).abs().max() < 1e-5
        assert (attention.self_matrices[4, 3][image] - expected.mT).abs().max() > 1e-4


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_a_second_call_is_refused(chroma: ChromaPipeline, guidance_scale: float) -> None:
    options = OPTIONS | {"guidance_scale": guidance_scale}
    with capture(chroma, ["bird"]):
        run(chroma, BIRD, 1, **options)
        with pytest.raises(InputError, match="one pipeline call per capture"):
            run(chroma, BIRD, 1, **options)


def test_absent_words_and_words_cut_off_are_named(chroma: ChromaPipeline) -> None:
    with pytest.raises(InputError, match="'cat' in the prompt"), capture(chroma, ["cat"]):
        run(chroma, BIRD, 1)
    with (
        pytest.raises(InputError, match="'bird' within the first 7 tokens of the prompt"),
        capture(chroma, ["bird"]),
    ):
        run(chroma, "the grass and the snow and a bird", 1, max_sequence_length=8)
