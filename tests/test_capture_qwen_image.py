"""Capture in Qwen-Image, whose text is what a chat says after its first tokens."""

from typing import Any

import concept_reference
import pytest
import torch
from concept_reference import TWO, WANTED, attended, heads, shares
from diffusers import QwenImagePipeline
from joint_reference import check
from random_chats import make_qwen_image
from slow_reference import BIRD, run
from torch import Tensor

from diffumask.attention.capture import capture
from diffumask.attention.encoding import check_ids
from diffumask.attention.families import network_of
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric


@pytest.fixture
def qwen() -> QwenImagePipeline:
    return make_qwen_image()


def places(pipe: Any, text: str, word: str) -> list[int]:
    return list(word_positions(pipe.tokenizer, text, word))


def n_text(pipe: Any, texts: list[str]) -> int:
    """Return how many tokens a prompt has at most, with those after it."""
    _, after = pipe.prompt_template_encode.split("{}")
    return max(len(pipe.tokenizer(text + after)["input_ids"]) for text in texts)


GUIDED = {"true_cfg_scale": 4.0, "negative_prompt": ["snow", "sand on grass"]}
LIKE_PROMPTS = {"true_cfg_scale": 4.0, "negative_prompt": TWO[::-1]}  # as long as the prompts


@pytest.mark.parametrize(
    ("texts", "n_images", "options"),
    [
        (TWO, 1, {}),
        (TWO, 2, GUIDED),
        (TWO, 1, LIKE_PROMPTS),
        ([TWO[1], TWO[1]], 1, GUIDED),
    ],
    ids=["plain", "guided", "alike", "unmasked"],
)
def test_qwen_image(
    qwen: QwenImagePipeline, texts: list[str], n_images: int, options: dict[str, Any]
) -> None:
    n = n_text(qwen, texts)
    mask = qwen.encode_prompt(texts)[1]
    assert (mask is None) == (texts[0] == texts[1])
    attention = check(
        qwen,
        WANTED if texts is TWO else WANTED[1:] * 2,
        texts,
        slice(n, None),
        lambda text, word: places(qwen, text, word),
        n_keys=n + 12,
        per_evaluation=2,
        n_passes=1 + (options is LIKE_PROMPTS),
        has_matrix=True,
        num_images_per_prompt=n_images,
        **options,
    )
    assert attention.n_heads == {(4, 3): 4}


def concept_maps(given: dict[str, Any], concepts: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Write ConceptAttention out for one image and block: its maps, and the concepts after it."""
    block, layer, temb = given["block"], given["block"].attn, given["temb"][row]
    image, text = (given[name][row][None] for name in ("hidden_states", "encoder_hidden_states"))
    mask = given["encoder_hidden_states_mask"]
    if mask is not None:
        text = text[:, mask[row]]
    of_image, of_text = (to(temb).chunk(6) for to in (block.img_mod, block.txt_mod))

    def normed(norm: Any, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return norm(x) * (1 + scale) + shift

    def turned(x: Tensor, places: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * places).flatten(-2)

    image = normed(block.img_norm1, image, *of_image[:2])
    text, riding = (normed(block.txt_norm1, one, *of_text[:2]) for one in (text, concepts))
    q, k, v = (heads(to(image), layer) for to in (layer.to_q, layer.to_k, layer.to_v))
    adds = (layer.add_q_proj, layer.add_k_proj, layer.add_v_proj)
    (_, kt, vt), (qc, kc, vc) = ([heads(to(one), layer) for to in adds] for one in (text, riding))
    of_pixels, of_tokens = given["image_rotary_emb"]
    q, k = turned(layer.norm_q(q), of_pixels), turned(layer.norm_k(k), of_pixels)
    kt = turned(layer.norm_added_k(kt), of_tokens[: text.shape[1]])
    qc, kc = (
        turned(norm(one), of_tokens[:1])
        for norm, one in ((layer.norm_added_q, qc), (layer.norm_added_k, kc))
    )
    pixels = attended(q, torch.cat([kt, k], 2), torch.cat([vt, v], 2))
    out = attended(qc, torch.cat([kc, k], 2), torch.cat([vc, v], 2))
    concepts = concepts + of_text[2] * layer.to_add_out(out.transpose(1, 2).flatten(2))
    fed = block.txt_mlp(normed(block.txt_norm2, concepts, *of_text[3:5]))
    return shares(out, pixels), concepts + of_text[5] * fed


@pytest.mark.parametrize("options", [{}, GUIDED], ids=["plain", "guided"])
def test_concepts(qwen: QwenImagePipeline, options: dict[str, Any]) -> None:
    def embed(concept: str) -> Tensor:
        (row,) = qwen.encode_prompt(concept)[0]
        mean = row[places(qwen, concept, concept)].mean(0)
        return qwen.transformer.txt_in(qwen.transformer.txt_norm(mean))

    concept_reference.check(qwen, {0, 1}, embed, concept_maps, **options)


def test_padding_on_the_left_changes_no_map(qwen: QwenImagePipeline) -> None:
    maps = []
    for side in ("right", "left"):
        qwen.tokenizer.padding_side = side
        with capture(qwen, WANTED) as attention:
            run(qwen, TWO, 1)
        maps.append(attention.maps[4, 3])
    assert (maps[0] - maps[1]).abs().max() < 1e-5


def test_words_of_the_template_are_no_words_of_the_prompt(qwen: QwenImagePipeline) -> None:
    assert "background" in qwen.prompt_template_encode
    with (
        pytest.raises(InputError, match="expected the word 'background' in the prompt"),
        capture(qwen, ["background"], background=()),
    ):
        run(qwen, BIRD, 1)


def test_a_word_that_is_cut_off_is_named(qwen: QwenImagePipeline) -> None:
    long = "the grass and the snow and the sand and a bird"
    with (
        pytest.raises(InputError, match=r"'bird' within the first 8 tokens of the prompt"),
        capture(qwen, ["bird"]),
    ):
        run(qwen, long, 1, max_sequence_length=8)


def test_another_template_is_refused(qwen: QwenImagePipeline) -> None:
    network = network_of(qwen.transformer, qwen)
    ids = network.given_ids(qwen.tokenizer, BIRD, {})
    other = qwen.tokenizer(qwen.prompt_template_encode.format(BIRD).replace("Desc", "Desk"))
    seen = {"tokenizer": torch.tensor([ids])}
    check_ids(qwen, network, [BIRD], seen, {})
    seen = {"tokenizer": torch.tensor([other["input_ids"]])}
    with pytest.raises(InputError, match="expected the tokens of"):
        check_ids(qwen, network, [BIRD], seen, {})


def test_several_images_of_one_sample_are_refused(qwen: QwenImagePipeline) -> None:
    shapes = {"img_shapes": [[(1, 4, 3), (1, 4, 3)]]}
    tokens = torch.zeros(1, 24, 16)
    with pytest.raises(InputError, match="images as input and layers"), capture(qwen, ["bird"]):
        qwen.transformer(hidden_states=tokens, encoder_hidden_states=tokens, **shapes)
