"""Capture in Ovis-Image, whose blocks are those of FLUX.1 and whose text is a chat."""

from typing import Any

import concept_reference
import pytest
from concept_reference import TWO, WANTED
from diffusers import OvisImagePipeline
from joint_reference import N_T5, check
from random_chats import make_ovis_image
from slow_reference import BIRD, run
from test_capture_concepts import concept_maps
from torch import Tensor

from diffumask.attention.capture import capture
from diffumask.attention.tokens import spans_of
from diffumask.errors import InputError

pytestmark = pytest.mark.numeric


@pytest.fixture
def ovis() -> OvisImagePipeline:
    return make_ovis_image()


def places(pipe: Any, text: str, word: str) -> list[int]:
    """Return the tokens of a word behind a space; the space before the prompt is the system's."""
    offsets = pipe.tokenizer(" " + text, return_offsets_mapping=True)["offset_mapping"]
    spans = [(start + 1, stop + 1) for start, stop in spans_of(text, word)]
    return [
        i
        for i, (a, b) in enumerate(offsets)
        if any(a < stop and b > start for start, stop in spans)
    ]


@pytest.mark.parametrize(("guidance_scale", "n_images"), [(1.0, 2), (5.0, 1)])
def test_ovis_image(ovis: OvisImagePipeline, guidance_scale: float, n_images: int) -> None:
    check(
        ovis,
        WANTED,
        TWO,
        slice(N_T5, None),
        lambda text, word: places(ovis, text, word),
        n_keys=N_T5 + 12,
        per_evaluation=3,
        n_passes=1 + (guidance_scale > 1),
        has_matrix=True,
        guidance_scale=guidance_scale,
        num_images_per_prompt=n_images,
    )


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_concepts(ovis: OvisImagePipeline, guidance_scale: float) -> None:
    transformer = ovis.transformer

    def embed(concept: str) -> Tensor:
        options = {"do_classifier_free_guidance": False, "max_sequence_length": N_T5}
        encoded: Any = ovis.encode_prompt(concept, **options)
        (row,) = encoded[0]
        mean = row[places(ovis, concept, concept)].mean(0)
        return transformer.context_embedder(transformer.context_embedder_norm(mean))

    concept_reference.check(ovis, {0, 1}, embed, concept_maps, guidance_scale=guidance_scale)


def test_words_of_the_system_are_no_words_of_the_prompt(ovis: OvisImagePipeline) -> None:
    assert "background" in ovis.system_prompt
    with (
        pytest.raises(InputError, match="expected the word 'background' in the prompt"),
        capture(ovis, ["background"], background=()),
    ):
        run(ovis, BIRD, 1, max_sequence_length=N_T5)


def test_a_word_that_is_cut_off_is_named(ovis: OvisImagePipeline) -> None:
    long = "the grass and the snow and the sand and a bird"
    with (
        pytest.raises(InputError, match=r"'bird' within the first 8 tokens of the prompt"),
        capture(ovis, ["bird"]),
    ):
        run(ovis, long, 1, max_sequence_length=8)
