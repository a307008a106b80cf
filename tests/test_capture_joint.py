"""Capture in transformers whose pixels attend to text and pixels in one softmax."""

import copy
import gc
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiTTransformer2DModel, FluxKontextPipeline, FluxPipeline
from diffusers.hooks import FirstBlockCacheConfig, MagCacheConfig, TaylorSeerCacheConfig
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from joint_reference import N_T5, all_probabilities, check, matrix_of
from random_transformers import sd3
from slow_reference import BIRD, HALVES, PLANE, needs_bfloat16, run
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5EncoderModel

from diffumask.attention.capture import capture
from diffumask.attention.defaults import EVERY_MATRIX
from diffumask.attention.propagate import propagated
from diffumask.attention.tokens import word_positions
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric

N_CLIP = 77
TWO = [BIRD, PLANE]


def every(name: str) -> bool:
    return True


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
        return [n_pixels + key for key in word_positions(tokenizer, text, word)]

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
        with capture(flux, ["bird"], space="attention", layers=every, steps=steps) as attention:
            run(flux, BIRD, 4, max_sequence_length=N_T5)
        maps[steps] = attention.maps[4, 3]
    early, late, both = maps.values()
    assert (early - late).abs().max() > 1e-4
    assert ((early + late) / 2 - both).abs().max() < 1e-6


def test_guidance_by_a_second_pass_leaves_the_maps_to_the_first(flux: FluxPipeline) -> None:
    options = {"true_cfg_scale": 2.0, "negative_prompt": ["snow", "sand on grass"]}
    with all_probabilities(N_T5 + 12) as kept:
        plain = run(flux, TWO, 2, max_sequence_length=N_T5, **options)
    words = [["bird"], ["potted plant"]]
    with capture(flux, words, space="attention", layers=every) as attention:
        captured = run(flux, TWO, 2, max_sequence_length=N_T5, **options)
    assert np.array_equal(plain, captured)
    n_layers = 4
    passes = torch.stack(kept).unflatten(0, (-1, n_layers))  # steps x passes, layer, entry, ...
    with_prompt, without = (passes[one::2].mean((0, 1, 3)) for one in (0, 1))
    places = list(word_positions(flux.tokenizer_2, PLANE, "potted plant"))
    got = attention.maps[4, 3][1, list(attention.columns(1, "potted plant"))].flatten(1).mT
    assert (got - with_prompt[1, N_T5:][:, places]).abs().max() < 1e-5
    assert (got - without[1, N_T5:][:, places]).abs().max() > 1e-4


def test_a_third_prompt_is_refused(flux: FluxPipeline) -> None:
    options = {"true_cfg_scale": 2.0, "negative_prompt": "snow", "max_sequence_length": N_T5}
    with capture(flux, ["bird"]):
        run(flux, BIRD, 1, **options)
        with pytest.raises(InputError, match="got a second prompt"):
            run(flux, BIRD, 1, **options)


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
    with capture(flux, ["bird"], space="attention", layers=every) as attention:
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


def test_a_layer_with_attention_of_its_own_beside_is_refused(flux: FluxPipeline) -> None:
    layer = flux.transformer.transformer_blocks[1].attn
    layer.set_processor(FluxIPAdapterAttnProcessor(16, 16))
    images = {"ip_hidden_states": [torch.zeros(1, 1, 16)], "ip_adapter_masks": None}
    with (
        pytest.raises(InputError, match=r"blocks\.1\.attn\.processor, got 2; .* IP-Adapter"),
        capture(flux, ["bird"], space="attention", layers=every),
    ):
        run(flux, BIRD, 1, max_sequence_length=N_T5, joint_attention_kwargs=images)


def test_another_attention_backend_is_refused(flux: FluxPipeline) -> None:
    class Foreign:
        def __call__(self, attn: Any, hidden_states: Any, text: Any = None, *rest: Any) -> Any:
            return hidden_states, text

    flux.transformer.transformer_blocks[1].attn.set_processor(Foreign())
    with (
        pytest.raises(InputError, match='got 0; take the attention backend "native"'),
        capture(flux, ["bird"], space="attention", layers=every),
    ):
        run(flux, BIRD, 1, max_sequence_length=N_T5)


def test_the_matrix_is_the_part_from_pixels_to_pixels(
    flux: FluxPipeline, tokenizer: CLIPTokenizer
) -> None:
    of_sd3 = sd3(tokenizer, (None, None))
    cases = [(flux, slice(N_T5, None), N_T5 + 12), (of_sd3, slice(0, 12), 12 + N_CLIP + N_T5)]
    for pipe, pixels, n_keys in cases:
        with all_probabilities(n_keys) as kept:
            run(pipe, TWO, 2, max_sequence_length=N_T5)
        given = {"layers": every, "self_attention": True, "matrix_strides": EVERY_MATRIX}
        with capture(pipe, WANTED, space="attention", **given) as attention:
            run(pipe, TWO, 2, max_sequence_length=N_T5)
        matrices = attention.self_matrices[4, 3]
        for image in (0, 1):
            expected = matrix_of(kept, pixels, image - 2)
            assert (matrices[image] - expected).abs().max() < 1e-5
            assert (matrices[image] - expected.mT).abs().max() > 1e-4
        assert propagated(attention)[1]["aeroplane"].shape == (4, 3)


def test_the_matrix_is_of_the_layers_of_pixels_alone_where_there_are_any(
    tokenizer: CLIPTokenizer,
) -> None:
    pipe = sd3(tokenizer, (None, None), dual_attention_layers=(0,), qk_norm="rms_norm")
    with all_probabilities(12) as kept:
        run(pipe, TWO, 2, max_sequence_length=N_T5)
    given = {"layers": every, "self_attention": True, "matrix_strides": EVERY_MATRIX}
    with capture(pipe, WANTED, **given) as attention:
        run(pipe, TWO, 2, max_sequence_length=N_T5)
    expected = matrix_of(kept, slice(0, 12), -2)
    assert (attention.self_matrices[4, 3][0] - expected).abs().max() < 1e-5


@pytest.mark.parametrize("space", ["attention", "output"])
def test_what_is_held_does_not_grow_with_the_steps(flux: FluxPipeline, space: str) -> None:
    def alive() -> int:
        gc.collect()
        return sum(one.nbytes for one in gc.get_objects() if type(one) is torch.Tensor)

    def held(steps: int) -> int:
        before = alive()
        with capture(flux, ["bird"], space=space, self_attention=True) as attention:
            run(flux, BIRD, steps, max_sequence_length=N_T5)
            assert attention.sums
            return alive() - before

    held(1)
    growth = held(3) - held(1)
    assert abs(growth) < 4 * 12 * 16 / 2  # bytes of the latents: not even these are kept


def test_other_transformers_are_refused_with_the_known_ones(flux: FluxPipeline) -> None:
    flux.transformer = DiTTransformer2DModel(num_layers=1, num_attention_heads=1, sample_size=8)
    with (
        pytest.raises(InputError, match=r"SD3Tr.*, FluxTr.*, got DiTTransformer2DModel"),
        capture(flux, ["bird"]),
    ):
        pass
