"""Capture in transformers whose pixels attend to text and pixels in one softmax."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, random_vae, text_config
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.hooks import FirstBlockCacheConfig, MagCacheConfig, TaylorSeerCacheConfig
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from slow_reference import BIRD, HALVES, PLANE, needs_bfloat16, run
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from diffumask.attention.capture import capture
from diffumask.attention.running_means import Attention
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric

N_CLIP, N_T5 = 77, 48
TWO = [BIRD, PLANE]
T5_WIDTH = 64


@pytest.fixture(scope="session")
def t5_tokenizer() -> PreTrainedTokenizerFast:
    """A small tokenizer of the kind of T5's: pieces, no start token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([WORDS, "abcdefghijklmnopqrstuvwxyz ,."], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


@pytest.fixture(scope="session")
def t5(t5_tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(t5_tokenizer), d_model=T5_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config).eval()


def sharpened(transformer: Any) -> Any:
    """Make the attention differ from word to word."""
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if "to_q" in name or "add_k_proj" in name or "context_embedder" in name:
                weight.mul_(4)
    return transformer.eval()


def sd3(tokenizer: CLIPTokenizer, t5_parts: tuple, **config: Any) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    text = text_config(tokenizer)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=T5_WIDTH,
        **config,
    )
    return StableDiffusion3Pipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=random_vae(shift_factor=0.0),
        text_encoder=CLIPTextModelWithProjection(text).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text).eval(),
        text_encoder_3=t5_parts[0],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=t5_parts[1],
    )


@pytest.fixture
def flux(
    tokenizer: CLIPTokenizer, t5: T5EncoderModel, t5_tokenizer: PreTrainedTokenizerFast
) -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 2, 2),
    )
    return FluxPipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=random_vae(shift_factor=0.0),
        text_encoder=CLIPTextModel(text_config(tokenizer)).eval(),
        text_encoder_2=t5,
        tokenizer=tokenizer,
        tokenizer_2=t5_tokenizer,
    )


@contextmanager
def all_probabilities(n_keys: int) -> Iterator[list[Tensor]]:
    """Keep the full softmax of every attention over so many keys, as the network calls it."""
    kept: list[Tensor] = []
    fused = functional.scaled_dot_product_attention

    def seen(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if query.shape[2] == key.shape[2] == n_keys:
            with torch.autocast("cpu", enabled=False):
                logits = query.float() @ key.float().mT * query.shape[-1] ** -0.5
            kept.append(logits.softmax(-1).detach())
        return fused(query, key, value, *args, **kwargs)

    functional.scaled_dot_product_attention = seen
    try:
        yield kept
    finally:
        functional.scaled_dot_product_attention = fused


def check(
    pipe: Any,
    words: list[list[str]],
    texts: list[str],
    pixels: slice,
    places: Callable[[str, str], list[int]],
    n_keys: int,
    per_evaluation: int,
    bound: float = 1e-5,
    **options: Any,
) -> Attention:
    """Compare with what the network computes; `places` are those of a word among the keys."""
    options = {"max_sequence_length": N_T5} | options
    with all_probabilities(n_keys) as kept:
        plain = run(pipe, texts, 2, **options)
    with capture(pipe, words) as attention:
        captured = run(pipe, texts, 2, **options)
    assert np.array_equal(plain, captured)

    assert len(kept) == 2 * per_evaluation
    mean = torch.stack(kept).mean(0).mean(1)  # entry query key
    ((h, w),) = attention.maps
    n_images = options.get("num_images_per_prompt", 1)
    of_images = [pair for pair in zip(texts, words, strict=True) for _ in range(n_images)]
    for image, (text, wanted) in enumerate(of_images):
        for word in wanted:
            columns = list(attention.columns(image, word))
            expected = mean[image - len(of_images), pixels][:, places(text, word)]
            got = attention.maps[h, w][image, columns].flatten(1).mT
            assert got.shape == expected.shape == (h * w, len(columns))
            assert (got - expected).abs().max() < bound
            assert (got - expected.roll(1, dims=0)).abs().max() > 1e-4
    return attention


WANTED = [["bird"], ["potted plant", "aeroplane"]]


@pytest.mark.parametrize(
    ("config", "guidance_scale"),
    [({}, 5.0), ({}, 1.0), ({"qk_norm": "rms_norm", "dual_attention_layers": (0,)}, 5.0)],
)
def test_stable_diffusion_3(
    tokenizer: CLIPTokenizer,
    t5: T5EncoderModel,
    t5_tokenizer: PreTrainedTokenizerFast,
    config: dict,
    guidance_scale: float,
) -> None:
    pipe = sd3(tokenizer, (t5, t5_tokenizer), **config)
    n_pixels = 4 * 3  # of 8x6 latents in patches of 2x2

    def places(text: str, word: str) -> list[int]:
        of_t5 = word_positions(t5_tokenizer, text, word)
        keys = [*word_positions(tokenizer, text, word), *(N_CLIP + p for p in of_t5)]
        return [n_pixels + key for key in keys]

    attention = check(
        pipe,
        WANTED,
        TWO,
        slice(0, n_pixels),
        places,
        n_keys=n_pixels + N_CLIP + N_T5,
        per_evaluation=2,
        guidance_scale=guidance_scale,
    )
    assert attention.n_heads == {(4, 3): 4}


def test_stable_diffusion_3_without_t5(tokenizer: CLIPTokenizer) -> None:
    pipe = sd3(tokenizer, (None, None))
    check(
        pipe,
        WANTED,
        TWO,
        slice(0, 12),
        lambda text, word: [12 + p for p in word_positions(tokenizer, text, word)],
        n_keys=12 + N_CLIP + N_T5,
        per_evaluation=2,
    )


@pytest.mark.parametrize("n_images", [1, 2])
def test_flux(flux: FluxPipeline, n_images: int) -> None:
    attention = check(
        flux,
        WANTED,
        TWO,
        slice(N_T5, None),
        lambda text, word: list(word_positions(flux.tokenizer_2, text, word)),
        n_keys=N_T5 + 12,
        per_evaluation=4,
        num_images_per_prompt=n_images,
    )
    assert attention.n_heads == {(4, 3): 8}


@pytest.mark.parametrize(("dtype", "bound"), HALVES)
def test_half_precision(flux: FluxPipeline, dtype: str, bound: float) -> None:
    half = FluxPipeline(**copy.deepcopy(flux.components))
    half.to(dtype=getattr(torch, dtype))
    check(
        half,
        WANTED,
        TWO,
        slice(N_T5, None),
        lambda text, word: list(word_positions(flux.tokenizer_2, text, word)),
        n_keys=N_T5 + 12,
        per_evaluation=4,
        bound=bound,
    )


def test_t5_has_no_start_token(t5_tokenizer: PreTrainedTokenizerFast) -> None:
    assert word_positions(t5_tokenizer, "bird on grass", "bird")[0] == 0
    ids = t5_tokenizer("an aeroplane on grass")["input_ids"]
    pieces = [ids[p] for p in word_positions(t5_tokenizer, "an aeroplane on grass", "aeroplane")]
    spelled = "".join(t5_tokenizer.convert_ids_to_tokens(pieces))
    assert spelled == "\N{LOWER ONE EIGHTH BLOCK}aeroplane"


def test_a_word_that_t5_does_not_see_is_named(flux: FluxPipeline) -> None:
    with (
        pytest.raises(InputError, match="'bird' within the first 7 tokens of the prompt"),
        capture(flux, ["bird"]),
    ):
        run(flux, "the grass and the snow and the sand and a bird", 1, max_sequence_length=8)


def test_steps_are_chosen_alike(flux: FluxPipeline) -> None:
    maps = {}
    for steps in [(0.0, 0.5), (0.5, 1.0), (0.0, 1.0)]:
        with capture(flux, ["bird"], steps=steps) as attention:
            run(flux, BIRD, 4, max_sequence_length=N_T5)
        maps[steps] = attention.maps[4, 3]
    early, late, both = maps.values()
    assert (early - late).abs().max() > 1e-4
    assert ((early + late) / 2 - both).abs().max() < 1e-6


def test_a_second_guidance_is_refused(flux: FluxPipeline) -> None:
    with pytest.raises(InputError, match="without true_cfg_scale"), capture(flux, ["bird"]):
        run(flux, BIRD, 1, true_cfg_scale=2.0, negative_prompt="snow")


def test_kontext_without_an_image_is_captured_and_a_transposed_one_refused(
    flux: FluxPipeline,
) -> None:
    pipe = FluxKontextPipeline(**flux.components)
    options: dict[str, Any] = {"prompt": BIRD, "height": 64, "width": 32, "max_area": 64 * 32}
    options |= {"num_inference_steps": 1, "max_sequence_length": N_T5, "_auto_resize": False}
    with capture(pipe, ["bird"]) as attention:
        pipe(**options)
    assert set(attention.maps) == {(4, 2)}
    # 4 x 2 and 2 x 4 tokens are as many as one image of 4 x 4 has.
    with (
        pytest.raises(InputError, match=r"one image of 4 x 4 tokens.*images as input cannot"),
        capture(pipe, ["bird"]),
    ):
        pipe(image=torch.rand(1, 3, 32, 64), **options)


@pytest.mark.parametrize(
    "config",
    [
        FirstBlockCacheConfig(threshold=1e6),
        TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1),
        MagCacheConfig(
            threshold=1e6, num_inference_steps=4, retention_ratio=0, mag_ratios=[1.0] * 4
        ),
    ],
)
def test_maps_are_means_of_what_a_cache_leaves(flux: FluxPipeline, config: Any) -> None:
    def run_cached() -> None:
        flux.transformer.enable_cache(config)
        run(flux, BIRD, 4, max_sequence_length=N_T5)
        flux.transformer.disable_cache()

    with all_probabilities(N_T5 + 12) as kept:
        run_cached()
    with capture(flux, ["bird"]) as attention:
        run_cached()
    assert 0 < len(kept) < 4 * 4
    mean = torch.stack(kept).mean(0)[-1].mean(0)[N_T5:]
    places = list(word_positions(flux.tokenizer_2, BIRD, "bird"))
    got = attention.maps[4, 3][0, list(attention.columns(0, "bird"))].flatten(1).mT
    assert (got - mean[:, places]).abs().max() < 1e-5


# The network itself warns of norms whose weights stay in single precision.
@pytest.mark.filterwarnings("ignore:Mismatch dtype")
@needs_bfloat16
def test_autocast_rounds_no_more_than_half_precision_does(
    flux: FluxPipeline, tokenizer: CLIPTokenizer
) -> None:
    bound = 2**-8
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check(
            flux,
            WANTED,
            TWO,
            slice(N_T5, None),
            lambda text, word: list(word_positions(flux.tokenizer_2, text, word)),
            n_keys=N_T5 + 12,
            per_evaluation=4,
            bound=bound,
        )
        check(
            sd3(tokenizer, (None, None), qk_norm="rms_norm"),
            WANTED,
            TWO,
            slice(0, 12),
            lambda text, word: [12 + p for p in word_positions(tokenizer, text, word)],
            n_keys=12 + N_CLIP + N_T5,
            per_evaluation=2,
            bound=bound,
        )


def test_an_ip_adapter_is_refused_by_name(flux: FluxPipeline) -> None:
    layer = flux.transformer.transformer_blocks[0].attn
    layer.set_processor(FluxIPAdapterAttnProcessor(16, 16))
    with (
        pytest.raises(InputError, match=r"blocks\.0\.attn\.processor, got FluxIPAdapterAttnProc"),
        capture(flux, ["bird"]),
    ):
        pass


def test_self_attention_is_refused(flux: FluxPipeline) -> None:
    with (
        pytest.raises(InputError, match="got one with joint layers"),
        capture(flux, ["bird"], self_attention=True),
    ):
        pass


def test_other_transformers_are_refused_with_the_known_ones(flux: FluxPipeline) -> None:
    flux.transformer = PixArtTransformer2DModel(num_layers=1, num_attention_heads=1, sample_size=8)
    with (
        pytest.raises(InputError, match=r"SD3Tr.*, FluxTr.*, got PixArtTransformer2DModel"),
        capture(flux, ["bird"]),
    ):
        pass
