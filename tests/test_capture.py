import gc
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor, FusedAttnProcessor2_0
from slow_reference import BIRD, PLANE, check, needs_bfloat16, run
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from diffumask.attention.capture import capture
from diffumask.attention.running_means import Attention, Grid, Sum, halved
from diffumask.errors import InputError
from diffumask.models import load, resolve

pytestmark = pytest.mark.numeric

PIXELS = (8 * 6, 4 * 3, 2 * 2)  # of 8x6 latents, halved; the last is rounded up


def test_maps_equal_the_slow_reference_and_the_image_is_unchanged(pipe: DiffusionPipeline) -> None:
    check(pipe, BIRD, ["bird", "grass"], steps=3)


def test_without_guidance_the_whole_batch_counts(pipe: DiffusionPipeline) -> None:
    check(pipe, [BIRD, PLANE], [["bird"], ["aeroplane"]], guidance_scale=1.0)


def test_each_prompt_of_a_batch_has_its_own_words(pipe: DiffusionPipeline) -> None:
    check(pipe, [BIRD, PLANE], [["bird"], ["potted plant", "aeroplane"]])


def test_one_list_of_words_serves_all_prompts(pipe: DiffusionPipeline) -> None:
    check(pipe, ["a bird", "two sheep and a bird"], ["bird"])


def test_several_images_per_prompt_follow_each_other(pipe: DiffusionPipeline) -> None:
    check(pipe, [BIRD, PLANE], [["bird"], ["plant"]], num_images_per_prompt=2)


def test_a_negative_prompt_changes_no_positions(pipe: DiffusionPipeline) -> None:
    check(pipe, BIRD, ["bird"], negative_prompt="two sheep and a bird")


def test_a_word_that_occurs_twice_has_the_columns_of_both(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"]) as attention:
        run(pipe, "a bird and a bird", steps=1)
    assert attention.columns(0, "bird") == (0, 1)
    check(pipe, "a bird and a bird", ["bird"], steps=1)


def test_words_may_share_tokens(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["potted plant", "plant", "plant"]) as attention:
        run(pipe, "a potted plant", steps=1)
    assert attention.words == (("potted plant", "plant"),)
    assert attention.columns(0, "potted plant") == (0, 1)
    assert attention.columns(0, "plant") == (1,)
    assert all(maps.shape[1] == 2 for maps in attention.maps.values())


def test_a_prompt_may_want_no_words(pipe: DiffusionPipeline) -> None:
    with capture(pipe, [[], ["bird"]]) as attention:
        run(pipe, ["a sheep", BIRD], steps=1)
    assert attention.words == ((), ("bird",))


def test_stable_diffusion_xl(xl_pipe: DiffusionPipeline) -> None:
    check(xl_pipe, [BIRD, PLANE], [["bird"], ["aeroplane"]])


def test_the_older_processor_is_captured_alike(tiny_random_folder: Path) -> None:
    own = load(resolve(str(tiny_random_folder)), device="cpu")
    own.unet.set_attn_processor(AttnProcessor())
    check(own, BIRD, ["bird"])


@needs_bfloat16
def test_half_precision_is_summed_in_single(tiny_random_folder: Path) -> None:
    half = load(resolve(str(tiny_random_folder)), device="cpu", dtype="bfloat16")
    with capture(half, ["bird"]) as attention:
        run(half, BIRD)
    assert {maps.dtype for maps in attention.maps.values()} == {torch.float32}


def tensors_of(owner: object) -> list[Tensor]:
    """Find all tensors that an object keeps alive, through containers."""
    found, queue, seen = [], [owner], set()
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, dict | list | tuple | Attention | Grid | Sum):
            queue += gc.get_referents(one)
    return found


def test_what_is_held_does_not_grow_with_the_steps(pipe: DiffusionPipeline) -> None:
    held = {}
    for steps in (1, 4):
        with capture(pipe, ["bird"]) as attention:
            run(pipe, BIRD, steps=steps)
            held[steps] = sorted(t.untyped_storage().nbytes() for t in tensors_of(attention))
    counters = [4] * sum("attn2" in name for name in pipe.unet.attn_processors)
    sums = [4 * pixels for pixels in PIXELS]
    assert held[1] == held[4] == sorted(counters + sums)


class Reads(TorchDispatchMode):
    """Counts how often a value goes from a tensor to Python, for which a GPU must be waited for."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def reads(pipe: Any, n_steps: int, **given: Any) -> int:
    with ExitStack() as stack:
        counter = stack.enter_context(Reads())
        if given:
            stack.enter_context(capture(pipe, ["bird"], self_attention=True, **given))
        run(pipe, BIRD, steps=n_steps)
    return counter.n


def test_no_step_is_read_from_the_device_but_the_first_for_a_choice(
    pipe: DiffusionPipeline,
) -> None:
    plain = {steps: reads(pipe, steps) for steps in (4, 8)}
    assert {steps: reads(pipe, steps, matrix_strides=(1, 2)) for steps in (4, 8)} == plain
    for choice in ({"steps": (0.0, 0.5)}, {"matrix_strides": (2, 1)}):
        some = {steps: reads(pipe, steps, **choice) for steps in (4, 8)}
        assert some[4] - plain[4] == some[8] - plain[8] == 1


def state_of(pipe: DiffusionPipeline) -> tuple:
    hooks = dict(pipe.unet._forward_pre_hooks)
    return pipe.unet.attn_processors, vars(pipe).get("encode_prompt"), pipe.encode_prompt, hooks


def test_the_pipeline_is_as_before_after_the_block(pipe: DiffusionPipeline) -> None:
    before = state_of(pipe)
    with capture(pipe, ["bird"]):
        assert state_of(pipe) != before
        run(pipe, BIRD, steps=1)
    assert state_of(pipe) == before


def test_the_pipeline_is_as_before_after_an_error(pipe: DiffusionPipeline) -> None:
    before = state_of(pipe)

    def stop(*_: object) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), capture(pipe, ["bird"]):
        run(pipe, BIRD, callback_on_step_end=stop)
    assert state_of(pipe) == before


def test_an_encode_prompt_of_the_user_is_put_back(tiny_random_folder: Path) -> None:
    own = load(resolve(str(tiny_random_folder)), device="cpu")
    own.encode_prompt = mine = own.encode_prompt
    with capture(own, ["bird"]):
        run(own, BIRD, steps=1)
    assert own.encode_prompt is mine


def test_a_capture_in_a_capture_is_refused_and_the_outer_goes_on(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"]) as attention:
        with pytest.raises(InputError, match="outside any capture"), capture(pipe, ["bird"]):
            pass
        run(pipe, BIRD, steps=1)
    assert attention.words == (("bird",),)


def test_a_second_call_in_a_capture_is_refused(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"]):
        run(pipe, BIRD, steps=1)
        with pytest.raises(InputError, match="one pipeline call per capture"):
            run(pipe, BIRD, steps=1)


def test_an_unknown_processor_is_refused_by_name(tiny_random_folder: Path) -> None:
    own = load(resolve(str(tiny_random_folder)), device="cpu")
    own.unet.set_attn_processor(FusedAttnProcessor2_0())
    before = state_of(own)
    with (
        pytest.raises(InputError, match=r"attn2\.processor, got FusedAttnProcessor2_0"),
        capture(own, ["bird"]),
    ):
        pass
    assert state_of(own) == before


def test_attention_of_an_unknown_form_is_refused(tiny_random_folder: Path) -> None:
    own = load(resolve(str(tiny_random_folder)), device="cpu")
    own.unet.mid_block.attentions[0].transformer_blocks[0].attn2.norm_q = torch.nn.Identity()
    with pytest.raises(InputError, match=r"mid_block.*\['norm_q'\]"), capture(own, ["bird"]):
        pass


@pytest.mark.parametrize(
    ("prompt", "words", "message"),
    [
        (BIRD, ["sheep"], "word 'sheep' in the prompt"),
        ("a " * 75 + "bird", ["bird"], "'bird' within the first 75 tokens"),
        ([BIRD, PLANE], [["bird"]], "one for each of 2 prompts"),
        (BIRD, [], "one for each of 1 prompts"),
        (BIRD, ["bird", ["grass"]], "one list of words"),
    ],
)
def test_bad_words_are_refused_and_the_pipeline_is_as_before(
    pipe: DiffusionPipeline, prompt: str | list[str], words: list, message: str
) -> None:
    before = state_of(pipe)
    with pytest.raises(InputError, match=message), capture(pipe, words):
        run(pipe, prompt)
    assert state_of(pipe) == before


def test_a_bare_word_is_refused(pipe: DiffusionPipeline) -> None:
    with pytest.raises(InputError, match="list of words, got 'bird'"), capture(pipe, "bird"):
        pass


def test_a_prompt_given_as_embeddings_is_refused(pipe: DiffusionPipeline) -> None:
    embeddings, negative = pipe.encode_prompt(BIRD, torch.device("cpu"), 1, True)
    with pytest.raises(InputError, match="got embeddings"), capture(pipe, ["bird"]):
        run(pipe, None, prompt_embeds=embeddings, negative_prompt_embeds=negative)


def test_another_prompt_for_the_second_text_encoder_is_refused(xl_pipe: DiffusionPipeline) -> None:
    with pytest.raises(InputError, match="prompt_2"), capture(xl_pipe, ["bird"]):
        run(xl_pipe, BIRD, prompt_2="two sheep")


def test_a_call_of_the_unet_alone_is_refused(pipe: DiffusionPipeline) -> None:
    with pytest.raises(InputError, match="bare network call"), capture(pipe, ["bird"]):
        pipe.unet(torch.zeros(1, 4, 8, 6), 1, torch.zeros(1, 77, 32))


def test_a_batch_of_another_guidance_is_refused(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"]):
        text, nothing = pipe.encode_prompt(BIRD, torch.device("cpu"), 1, True)
        with pytest.raises(InputError, match="batch of 1 x 2, got 3"):
            pipe.unet(torch.zeros(3, 4, 8, 6), 1, text.expand(3, -1, -1))
        pipe.unet(torch.zeros(2, 4, 8, 6), 1, torch.cat([nothing, text]))


def test_a_block_without_a_pipeline_call_is_refused(pipe: DiffusionPipeline) -> None:
    before = state_of(pipe)
    with pytest.raises(InputError, match="inside the capture, got none"), capture(pipe, ["bird"]):
        pass
    assert state_of(pipe) == before


def call_with_a_mask(pipe: Any) -> None:
    text, nothing = pipe.encode_prompt(BIRD, torch.device("cpu"), 1, True)
    mask, both = torch.ones(2, 77, dtype=torch.bool), torch.cat([nothing, text])
    pipe.unet(torch.zeros(2, 4, 8, 6), 1, both, encoder_attention_mask=mask)


def test_a_text_mask_is_refused(pipe: DiffusionPipeline) -> None:
    with pytest.raises(InputError, match="got a mask"), capture(pipe, ["bird"]):
        call_with_a_mask(pipe)


def test_an_inverted_word_has_all_its_vectors(tiny_random_folder: Path) -> None:
    own = load(resolve(str(tiny_random_folder)), device="cpu")
    own.load_textual_inversion(torch.randn(2, 32), token="<toy>")
    with capture(own, ["<toy>", "bird"]) as attention:
        run(own, "a <toy> and a bird", steps=1)
    assert attention.columns(0, "<toy>") == (0, 1)
    assert attention.columns(0, "bird") == (2,)


def test_an_unknown_word_is_refused_with_the_known_ones(pipe: DiffusionPipeline) -> None:
    with capture(pipe, ["bird"]) as attention:
        run(pipe, BIRD, steps=1)
    with pytest.raises(InputError, match=r"\['bird'\], got 'sheep'"):
        attention.columns(0, "sheep")


@pytest.mark.parametrize(
    ("latent_hw", "factor", "size_hw"),
    [
        ((8, 6), 1, (8, 6)),
        ((8, 6), 2, (4, 3)),
        ((8, 6), 4, (2, 2)),
        ((4, 9), 2, (2, 5)),
        ((5, 1), 8, (1, 1)),
    ],
)
def test_grids_are_the_latents_halved_and_rounded_up(
    latent_hw: tuple[int, int], factor: int, size_hw: tuple[int, int]
) -> None:
    assert halved(latent_hw, factor) == size_hw
