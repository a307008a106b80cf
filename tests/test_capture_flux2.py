"""Capture in FLUX.2, whose text is a chat: with Qwen 3 of klein, with Mistral of dev."""

from typing import Any

import concept_reference
import pytest
import torch
from concept_reference import TWO, WANTED, attended, heads, shares
from diffusers import Flux2KleinKVPipeline, Flux2KleinPipeline, Flux2Pipeline
from diffusers.models.embeddings import apply_rotary_emb
from joint_reference import N_T5, check
from PIL import Image
from random_chats import make_flux2_dev, make_klein
from slow_reference import BIRD, run
from torch import Tensor

from diffumask.attention.capture import capture
from diffumask.attention.families import network_of
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:Kwargs passed to `processor"),
]

N_BEFORE = 3  # <|im_start|>, user, end of line
N_DEV = 96
N_AFTER = 1  # [/INST]


@pytest.fixture
def klein() -> Flux2KleinPipeline:
    return make_klein()


@pytest.fixture
def dev() -> Flux2Pipeline:
    pipe = make_flux2_dev()
    pipe.system_message = "a white bird"  # the published one is long
    return pipe


def of_klein(pipe: Any, text: str, word: str) -> list[int]:
    return [N_BEFORE + place for place in word_positions(pipe.tokenizer, text, word)]


def of_dev(pipe: Any, text: str, word: str) -> list[int]:
    tokenizer = pipe.tokenizer.tokenizer
    start = N_DEV - N_AFTER - len(tokenizer(text)["input_ids"])
    return [start + place for place in word_positions(tokenizer, text, word)]


@pytest.mark.parametrize(
    ("guidance_scale", "n_images"), [(1.0, 2), (4.0, 1)], ids=["plain", "guided"]
)
def test_klein(klein: Flux2KleinPipeline, guidance_scale: float, n_images: int) -> None:
    attention = check(
        klein,
        WANTED,
        TWO,
        slice(N_T5, None),
        lambda text, word: of_klein(klein, text, word),
        n_keys=N_T5 + 12,
        per_evaluation=4,
        n_passes=1 + (guidance_scale > 1),
        has_matrix=True,
        guidance_scale=guidance_scale,
        num_images_per_prompt=n_images,
    )
    assert attention.n_heads == {(4, 3): 8}


def test_dev_pads_on_the_left_and_its_system_message_is_not_the_prompt(dev: Flux2Pipeline) -> None:
    assert "bird" in dev.system_message
    check(
        dev,
        WANTED,
        TWO,
        slice(N_DEV, None),
        lambda text, word: of_dev(dev, text, word),
        n_keys=N_DEV + 12,
        per_evaluation=4,
        has_matrix=True,
        max_sequence_length=N_DEV,
    )
    with (
        pytest.raises(InputError, match="expected the word 'white' in the prompt"),
        capture(dev, ["white"]),
    ):
        run(dev, BIRD, 1, max_sequence_length=N_DEV)


def concept_maps(given: dict[str, Any], concepts: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Write ConceptAttention out for one image and block: its maps, and the concepts after it."""
    block, layer = given["block"], given["block"].attn
    image, text = (given[name][row][None] for name in ("hidden_states", "encoder_hidden_states"))
    of_image, of_text = (
        given[name][row].chunk(6) for name in ("temb_mod_img", "temb_mod_txt")
    )  # shift, scale and gate of the attention, then of the rest

    def normed(norm: Any, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return norm(x) * (1 + scale) + shift

    image = normed(block.norm1, image, *of_image[:2])
    text, riding = (normed(block.norm1_context, one, *of_text[:2]) for one in (text, concepts))
    q, k, v = (heads(to(image), layer) for to in (layer.to_q, layer.to_k, layer.to_v))
    q, k = layer.norm_q(q), layer.norm_k(k)
    adds = (layer.add_q_proj, layer.add_k_proj, layer.add_v_proj)
    (_, kt, vt), (qc, kc, vc) = ([heads(to(one), layer) for to in adds] for one in (text, riding))
    kt, kc, qc = layer.norm_added_k(kt), layer.norm_added_k(kc), layer.norm_added_q(qc)

    rotary: Any = given["image_rotary_emb"]
    n_text = text.shape[1]
    place = N_BEFORE if n_text == N_T5 else N_DEV - 1 - N_AFTER

    def turned(x: Tensor, places: slice) -> Tensor:
        of_places: Any = tuple(one[places] for one in rotary)
        made = apply_rotary_emb(x, of_places)
        assert isinstance(made, Tensor)
        return made

    q, k = (turned(one, slice(n_text, None)) for one in (q, k))
    kt = turned(kt, slice(0, n_text))
    qc, kc = (turned(one, slice(place, place + 1)) for one in (qc, kc))

    pixels = attended(q, torch.cat([kt, k], 2), torch.cat([vt, v], 2))
    out = attended(qc, torch.cat([kc, k], 2), torch.cat([vc, v], 2))
    concepts = concepts + of_text[2] * layer.to_add_out(out.transpose(1, 2).flatten(2))
    fed = block.ff_context(normed(block.norm2_context, concepts, *of_text[3:5]))
    return shares(out, pixels), concepts + of_text[5] * fed


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_concepts_of_klein(klein: Flux2KleinPipeline, guidance_scale: float) -> None:
    def embed(concept: str) -> Tensor:
        (row,) = klein.encode_prompt(concept, max_sequence_length=N_T5)[0]
        return klein.transformer.context_embedder(row[of_klein(klein, concept, concept)].mean(0))

    concept_reference.check(klein, {0, 1}, embed, concept_maps, guidance_scale=guidance_scale)


def test_concepts_of_dev(dev: Flux2Pipeline) -> None:
    def embed(concept: str) -> Tensor:
        (row,) = dev.encode_prompt(concept, max_sequence_length=N_DEV)[0]
        return dev.transformer.context_embedder(row[of_dev(dev, concept, concept)].mean(0))

    concept_reference.check(dev, {1}, embed, concept_maps, max_sequence_length=N_DEV)


def test_the_last_blocks_of_two_streams_are_read(dev: Flux2Pipeline) -> None:
    def chosen(n_double: int) -> list[int]:
        transformer = make_klein(num_layers=n_double).transformer
        layers = network_of(transformer, dev).readings[0].layers
        assert layers is not None
        assert not layers("single_transformer_blocks.6.attn.processor")
        return [i for i in range(n_double) if layers(f"transformer_blocks.{i}.attn.processor")]

    assert chosen(8) == [5, 6, 7]
    assert chosen(5) == [3, 4]


def test_a_word_that_is_cut_off_is_named(klein: Flux2KleinPipeline, dev: Flux2Pipeline) -> None:
    long = "the grass and the snow and the sand and a bird"
    for pipe, n in [(klein, 10), (dev, 12)]:
        with (
            pytest.raises(InputError, match=r"'bird' within the first \d+ tokens of the prompt"),
            capture(pipe, ["bird"]),
        ):
            run(pipe, long, 1, max_sequence_length=n)


def test_images_as_input_are_refused_with_a_cache_and_without(klein: Flux2KleinPipeline) -> None:
    parts = {name: one for name, one in klein.components.items() if one is not None}
    image = Image.new("RGB", (64, 64))
    for pipe in (klein, Flux2KleinKVPipeline(**parts)):
        with (
            pytest.raises(InputError, match="images as input cannot be captured"),
            capture(pipe, ["bird"]),
        ):
            pipe(image, BIRD, height=64, width=48, num_inference_steps=1, max_sequence_length=N_T5)


def test_the_pipeline_with_a_cache_is_the_same_without_images(klein: Flux2KleinPipeline) -> None:
    parts = {name: one for name, one in klein.components.items() if one is not None}
    cached = Flux2KleinKVPipeline(**parts)
    maps = []
    for pipe, options in [(klein, {"guidance_scale": 1.0}), (cached, {})]:
        with capture(pipe, ["bird"]) as attention:
            run(pipe, BIRD, 2, max_sequence_length=N_T5, **options)
        maps.append(attention.maps[4, 3])
    assert torch.equal(*maps)
